"""From what went wrong on the wire to the error that says so. Words from outside are cleaned and redacted here."""

from __future__ import annotations

import http.client
import ssl
import unicodedata
from typing import TYPE_CHECKING

from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from qdrant_backup.errors import ConnectionFailed, NotQdrant, QdrantBackupError
from qdrant_backup.qdrant.pull import Drip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3.exceptions import HTTPError

    from qdrant_backup.qdrant.calls import Call
    from qdrant_backup.qdrant.target import Target

__all__ = ["Lost", "Unanswered", "clean", "could_not", "of_transport"]

_SHOWN = 500
_CAUSE = 200

_CERTIFICATE = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by itself and not trusted here",
    19: "its certificate comes from an authority that is not trusted here",
    20: "its certificate comes from an authority that is not trusted here",
    21: "its certificate comes from an authority that is not trusted here",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}
_UNTRUSTED = frozenset({18, 19, 20, 21})


class Lost(ConnectionFailed):
    """The connection stood and broke, on a call that does no harm when it is repeated."""


class Unanswered(ConnectionFailed):
    """A call that changes something was sent, and no answer came. The server may have done it, or be doing it still.

    Nothing may start on the strength of this one: look at the server first.
    """

    default_advice = "Wait until the server is idle and look at it before repeating anything: it may still be at work."


def clean(text: str, target: Target) -> str:
    """Words from outside, fit for a terminal and a log: no control characters, no key, one line, bounded.

    Control characters go first: a key spelt with an escape code in the middle must not come together afterwards.
    """
    visible = "".join(" " if c in "\r\n\t" else c for c in text if c in "\r\n\t" or unicodedata.category(c)[0] != "C")
    if target.api_key:
        visible = target.api_key.redact(visible)
    line = " ".join(visible.split())
    if len(line) <= _SHOWN:
        return line
    # A chain of causes has the first of them at its end: "... failed to write to file ...: No space left on device".
    return f"{line[: _SHOWN - _CAUSE]} ... {line[-_CAUSE:]}"


def could_not(call: Call, target: Target) -> str:
    """The first part of a message: what failed, and where."""
    return f"could not {call.doing} at {target.url}"


def of_transport(error: HTTPError, call: Call, target: Target) -> QdrantBackupError:
    """The error for a request that got no complete answer."""
    what = could_not(call, target)
    tls = next((link for link in _chain(error) if isinstance(link, ssl.SSLError)), None)
    if tls is not None or isinstance(error, SSLError):
        return _of_tls(what, tls, target)
    if isinstance(error, NameResolutionError):
        return ConnectionFailed(what, why=f"the host name {target.host} is unknown")
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return ConnectionFailed(what, why=f"nobody answered within {target.connect_timeout_s:g} s")
    if isinstance(error, NewConnectionError):
        return ConnectionFailed(what, why=clean(_system_text(error), target))
    junk = next((link for link in _chain(error) if isinstance(link, http.client.HTTPException)), None)
    if junk is not None and not isinstance(junk, (http.client.RemoteDisconnected, http.client.IncompleteRead)):
        return _of_junk(what, junk, target)
    if isinstance(error, (ReadTimeoutError, Drip)):
        silence_s = call.patience_s(target.silence_s)
        silent = ConnectionFailed if call.repeatable else Unanswered
        return silent(what, why=str(error) if isinstance(error, Drip) else f"the server was silent for {silence_s:g} s")
    return (Lost if call.repeatable else Unanswered)(what, why=_lost_text(error, target))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it wraps: urllib3 keeps the inner one in `args`, as cause, or as context."""
    todo: list[BaseException] = [error]
    seen: set[int] = set()
    while todo:
        link = todo.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = [link.__cause__, link.__context__, *link.args]
        todo.extend(part for part in inner if isinstance(part, BaseException))


def _system_text(error: BaseException) -> str:
    for link in _chain(error):
        if isinstance(link, ConnectionRefusedError):
            return "connection refused: nothing listens there"
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
    return "no connection"


def _lost_text(error: BaseException, target: Target) -> str:
    for link in _chain(error):
        if isinstance(link, http.client.RemoteDisconnected):
            hint = "; if it speaks TLS, use QDRANT_URL=https://..." if target.scheme == "http" else ""
            return f"the connection was closed without an answer{hint}"
        if isinstance(link, http.client.IncompleteRead):
            return "the answer broke off"
        if isinstance(link, ConnectionResetError):
            return "the connection was reset"
        if isinstance(link, TimeoutError):
            return f"the server took nothing for {target.silence_s:g} s"
        if isinstance(link, OSError) and link.strerror:
            return clean(link.strerror, target)
    return "the connection broke"


def _of_junk(what: str, junk: BaseException, target: Target) -> NotQdrant:
    line = str(junk)
    if "\\x15\\x03" in repr(line) or "\x15\x03" in line:
        return NotQdrant(
            what, why="that port speaks TLS, and this is plain http", advice="Use QDRANT_URL=https://HOST:PORT."
        )
    return NotQdrant(
        what,
        why=f"what answers there does not speak HTTP/1.1 ({clean(line, target)[:60]!r}); it may be the gRPC port",
    )


def _of_tls(what: str, tls: ssl.SSLError | None, target: Target) -> ConnectionFailed:
    if isinstance(tls, ssl.SSLCertVerificationError):
        why = _CERTIFICATE.get(tls.verify_code, clean(tls.verify_message, target))
        trust = "Name the authority that signed it with --ca-file." if tls.verify_code in _UNTRUSTED else None
        advice = trust or "Renew the server's certificate, or call it by the name the certificate is for."
        return ConnectionFailed(what, why=f"TLS: {why}", advice=advice)
    reason = (tls.reason or "") if tls is not None else ""
    text = f"{reason} {tls}" if tls is not None else ""
    plain = (
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "UNKNOWN_PROTOCOL",
    )
    if any(sign in text.upper().replace(" ", "_") for sign in plain):
        return NotQdrant(
            what,
            why="that port does not speak TLS; it may be plain http",
            advice="Use QDRANT_URL=http://HOST:PORT, or the port behind which TLS is set up.",
        )
    return ConnectionFailed(what, why=f"TLS: {clean(reason or text or 'the handshake failed', target)}", advice="")
