"""What an answer means: a result, a refusal, or the sign that it was not Qdrant that answered."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

import msgspec

from qdrant_backup.errors import AccessDenied, NotQdrant, OperationFailed, QdrantBackupError, ServerRefused
from qdrant_backup.qdrant.failures import Unanswered, clean, could_not

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qdrant_backup.qdrant.calls import Call
    from qdrant_backup.qdrant.target import Target

__all__ = ["Answer", "check_encoding", "check_no_page", "decode", "decode_result", "refusal"]

T = TypeVar("T")

GATEWAY = frozenset({502, 503, 504})
_REDIRECTS = range(300, 400)
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_TOO_LARGE = 413
_BAD_TOKENS = frozenset({"ExpiredSignature", "InvalidSignature", "ImmatureSignature", "InvalidToken"})
"""What a server says of a token as such, in the place where it otherwise names a missing right (measured on 1.18.3)."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer that has been read: status, headers (any case), body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_page(self) -> bool:
        """Whether it is a web page, whatever it calls itself."""
        kind = self.headers.get("content-type", "").lower()
        return "html" in kind or self.body[:256].lstrip().lower().startswith((b"<!doctype html", b"<html"))


class _Envelope(msgspec.Struct, Generic[T]):
    result: T


class _Why(msgspec.Struct):
    error: str


class _Refusal(msgspec.Struct):
    status: _Why | str


def decode_result(answer: Answer, type_: type[T], call: Call, target: Target) -> T:
    """The `result` inside Qdrant's envelope, as `type_`. Raises NotQdrant when it is not there or of another shape."""
    # Both at once: a page of points read as an envelope first is read twice.
    enveloped: Any = _Envelope[type_]
    return decode(answer.body, enveloped, answer, call, target).result


def decode(body: bytes, type_: type[T], answer: Answer, call: Call, target: Target) -> T:
    """JSON as `type_`. Raises NotQdrant for a web page, other JSON, or JSON built to do harm (depth, huge numbers)."""
    if answer.is_page:
        raise NotQdrant(could_not(call, target), why="a web page answered")
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
        why = f"bad response: {clean(str(error), target)}"
        raise NotQdrant(could_not(call, target), why=why) from None


def check_encoding(headers: Mapping[str, str], call: Call, target: Target) -> None:
    """Raises OperationFailed for a compressed answer: `identity` was asked for, and lengths would mean nothing."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding and encoding != "identity":
        raise OperationFailed(
            could_not(call, target),
            why=f"the answer is compressed ({clean(encoding, target)}) although that was not asked for",
            advice="Switch off compression in the proxy in front of Qdrant.",
        )


def check_no_page(headers: Mapping[str, str], call: Call, target: Target) -> None:
    """Raises NotQdrant where a web page comes in place of a file: a login page has a success's status."""
    if "html" in headers.get("content-type", "").lower():
        raise NotQdrant(could_not(call, target), why="a web page answered")


def refusal(answer: Answer, call: Call, target: Target) -> QdrantBackupError:
    """The error for an answer whose status is not a success."""
    what = could_not(call, target)
    own_words = _own_words(answer)
    text = clean(_plain(answer) if own_words is None else own_words, target)
    status = answer.status
    if status in _REDIRECTS:
        return NotQdrant(what, why=f"it redirects to {_host(answer, target)}; nothing was sent there")
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return _denied(what, status, text, call, target)
    if own_words is None and b"http request" in answer.body.lower() and b"https" in answer.body.lower():
        why = "that port speaks TLS, and this is plain http"
        return NotQdrant(what, why=why, advice="Use QDRANT_URL=https://HOST:PORT.")
    if status == _TOO_LARGE and own_words is None:
        return ServerRefused(
            what,
            status=status,
            why=f"HTTP 413, a proxy's body limit: {text}" if text else "HTTP 413, a proxy's body limit",
            advice="Raise the proxy's limit on request bodies (nginx: client_max_body_size 0), or use Qdrant's own port.",
        )
    if own_words is None and status in GATEWAY:
        return _of_gateway(what, status, text, call)
    if answer.is_page:
        return NotQdrant(what, why=f"a web page answered, with HTTP {status}")
    return ServerRefused(what, status=status, why=f"HTTP {status}: {text}" if text else f"HTTP {status}")


def _of_gateway(what: str, status: int, text: str, call: Call) -> QdrantBackupError:
    why = f"a proxy answered HTTP {status}: it cannot reach Qdrant" + (f" ({text})" if text else "")
    if call.repeatable:
        return NotQdrant(
            what,
            why=why,
            advice="See that Qdrant runs behind that proxy, or use Qdrant's own REST port (6333 in its container).",
        )
    return Unanswered(what, why=why)


def _denied(what: str, status: int, text: str, call: Call, target: Target) -> AccessDenied:
    said = f" ({text})" if text else ""
    if status == _FORBIDDEN and text in _BAD_TOKENS:
        return AccessDenied(
            what,
            why=f"HTTP 403: the server does not accept this token ({text})",
            advice="Make a new token with the server's API key, or use that key itself.",
        )
    if status == _FORBIDDEN:
        return AccessDenied(
            what,
            why=f"HTTP 403: the key lacks a right, {call.right}{said}",
            advice=f"Use a key that may {call.right}: the full API key may do everything.",
        )
    if target.api_key:
        why = f"HTTP 401: the server does not know this API key; needed is {call.right}{said}"
    else:
        why = f"HTTP 401: the server wants an API key, and none was given{said}"
    return AccessDenied(what, why=why, advice=target.key_advice)


def _own_words(answer: Answer) -> str | None:
    """Qdrant's `status.error`, or None where Qdrant's envelope is missing."""
    try:
        status = msgspec.json.decode(answer.body, type=_Refusal).status
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError):
        return None
    return status.error if isinstance(status, _Why) else None


def _plain(answer: Answer) -> str:
    if answer.is_page:
        return ""
    return answer.body[:4096].decode("utf-8", "replace")


def _host(answer: Answer, target: Target) -> str:
    location = answer.headers.get("location", "")
    try:
        host = urlsplit(location).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    return clean(host, target) or "another path of the same host"
