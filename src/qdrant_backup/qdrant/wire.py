"""The connections themselves: urllib3 pools without proxies, redirects, retries or decoding of their own."""

from __future__ import annotations

import select
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any, TypeVar, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from qdrant_backup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from urllib3.response import HTTPResponse

    from qdrant_backup.qdrant.target import Target

__all__ = ["Wire"]

T = TypeVar("T")

_KEPT = 4


_CUT_OFF, _SEND_ALL = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


class _PatientConnection(HTTPConnection):
    """Gives sending the same patience as receiving, and does not go on sending what was given up.

    urllib3 sends under the connect timeout, which is meant for reaching the server and is too short for a slow link.

    Until an answer has come, closing resets: otherwise the system would go on sending what it holds of an upload that was
    given up (megabytes), also after this process was killed, and the server would restore it while nobody looks.
    """

    silence_s = 300.0

    def connect(self) -> None:
        super().connect()
        _when_closed(self.sock, _CUT_OFF)

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.silence_s)
            _when_closed(self.sock, _CUT_OFF)
            self._look_for_answer(self.sock)
        super().send(data)

    def _look_for_answer(self, sock: socket.socket) -> None:
        """Raise BrokenPipeError where an answer has come that is worth more than sending on."""

    def getresponse(self) -> HTTPResponse:
        sock = self.sock
        response = super().getresponse()
        _when_closed(sock, _SEND_ALL)
        return response


class _PlainConnection(_PatientConnection):
    """Notices an answer that comes while the body is being sent.

    A server that refuses an upload answers at once and then resets; whoever keeps sending loses that answer to the
    reset. urllib3 reads the answer after a BrokenPipeError, so that is what an early answer is turned into.
    """

    def _look_for_answer(self, sock: socket.socket) -> None:
        if select.select([sock], [], [], 0)[0]:
            raise BrokenPipeError


class _TlsConnection(_PatientConnection, HTTPSConnection):
    """Does not look for early answers: what is readable below TLS may be a session ticket."""


def _when_closed(sock: socket.socket | None, what: bytes) -> None:
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, what)


class Wire:
    """Requests to one target, each sent once. Safe to use from several threads.

    What is sent once gets a connection of its own: on a kept one the server may just have hung up, and nobody could
    tell whether the call had arrived.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._context = _context(target) if target.scheme == "https" else None
        self._kept = _pool(target, self._context)

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Iterable[bytes] | None = None,
        single: bool = False,
        silence_s: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send, and return the answer with its body unread. Raises urllib3's HTTPError."""
        target = self._target
        every = {"accept-encoding": "identity", "user-agent": "qdrant-backup", **headers}
        if single:
            every["connection"] = "close"
        if target.api_key:
            every["api-key"] = target.api_key.reveal()
        pool = _pool(target, self._context) if single else self._kept
        return pool.urlopen(
            method,
            target.prefix + path,
            body=body,
            headers=every,
            retries=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=target.connect_timeout_s, read=silence_s or target.silence_s),
            preload_content=False,
            decode_content=False,
        )

    def close(self) -> None:
        """Close the kept connections."""
        self._kept.close()


def _pool(target: Target, context: ssl.SSLContext | None) -> urllib3.HTTPConnectionPool:
    if context is None:
        pool = urllib3.HTTPConnectionPool(target.host, target.port, maxsize=_KEPT)
        pool.ConnectionCls = _patient(_PlainConnection, target)  # pyright: ignore[reportAttributeAccessIssue] - see _patient
        return pool
    secure = urllib3.HTTPSConnectionPool(
        target.host, target.port, maxsize=_KEPT, ssl_context=context, cert_reqs="CERT_REQUIRED"
    )
    secure.ConnectionCls = _patient(_TlsConnection, target)  # pyright: ignore[reportAttributeAccessIssue] - see _patient
    return secure


def _patient(connection: type[T], target: Target) -> type[T]:
    """The class with the target's patience. urllib3's own classes do not match its protocol for them to the letter."""
    return cast("type[T]", type(connection.__name__, (connection,), {"silence_s": target.silence_s}))


def _context(target: Target) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=target.ca_file)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a PEM certificate file"
        raise UsageError(
            f"the CA file {target.ca_file} cannot be used", why=why, advice="Name a PEM file with --ca-file."
        ) from None
