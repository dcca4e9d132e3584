"""A threaded HTTP server that gives canned answers and remembers what it was asked.

    server.on("GET /collections", Reply.result({"collections": []}))        # the last reply of a route repeats
    server.on("GET /slow", Reply(503), Reply.result(True))                  # first this, then that

A route is `METHOD path` without the query, percent-encoding as sent; what has no route gets Qdrant's 404.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclasses.dataclass(frozen=True)
class Request:
    """What arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclasses.dataclass(frozen=True)
class Reply:
    """One canned answer.

    `unread` answers before the body was read; `cut` sends only so many bytes of the body although the header promises
    all; `no_length` lets the end of the connection end the body; `chunked` sends it in chunks; `vanish` reads the
    request and closes without a word.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    unread: bool = False
    cut: int | None = None
    no_length: bool = False
    chunked: bool = False
    vanish: bool = False
    reset: bool = False

    @classmethod
    def result(cls, value: Any, status: int = 200) -> Reply:
        body = json.dumps({"result": value, "status": "ok", "time": 0.001}).encode()
        return cls(status, body, {"content-type": "application/json"})

    @classmethod
    def error(cls, status: int, text: str) -> Reply:
        body = json.dumps({"status": {"error": text}, "time": 0.001}).encode()
        return cls(status, body, {"content-type": "application/json"})

    @classmethod
    def page(cls, status: int, text: str = "<html><body>hello</body></html>") -> Reply:
        return cls(status, text.encode(), {"content-type": "text/html; charset=utf-8"})


Answering = Callable[[Request], Reply]


class Scripted:
    """The server. `port` and `url` say where; `requests` what came; close it when done."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._routes: dict[str, list[Reply | Answering]] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def on(self, route: str, *replies: Reply | Answering) -> None:
        """Answer a route with these, one after the other, the last one for ever."""
        with self._lock:
            self._routes[route] = list(replies)

    def asked(self, route: str) -> list[Request]:
        """The requests that came on a route."""
        return [one for one in self.requests if f"{one.method} {one.path}" == route]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def next_reply(self, method: str, path: str) -> Reply | Answering:
        with self._lock:
            replies = self._routes.get(f"{method} {path}")
            if not replies:
                return Reply.error(404, f"Not found: {path}")
            return replies.pop(0) if len(replies) > 1 else replies[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off, or does not trust us, is the case under test."""


def _handler(script: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            reply = script.next_reply(self.command, self.path.partition("?")[0])
            body = b""
            if isinstance(reply, Reply) and reply.unread:
                self.close_connection = True
            else:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            script.requests.append(request)
            self.give(reply if isinstance(reply, Reply) else reply(request))

        def give(self, reply: Reply) -> None:
            if reply.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if reply.vanish or reply.reset:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            named = {name.lower() for name in reply.headers}
            if reply.chunked:
                self.send_header("transfer-encoding", "chunked")
            elif not reply.no_length and "content-length" not in named:
                self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(_framed(reply))
            if reply.no_length or reply.cut is not None:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            pass

    return Handler


def _framed(reply: Reply) -> bytes:
    body = reply.body if reply.cut is None else reply.body[: reply.cut]
    if not reply.chunked:
        return body
    step = 1000
    parts = [body[at : at + step] for at in range(0, len(body), step)]
    end = b"0\r\n\r\n" if reply.cut is None else b""
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts) + end


class Junk:
    """A server that says the same bytes to everybody, whatever they say, and hangs up."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):  # Who hears nonsense may hang up.
                connection.settimeout(10)
                connection.recv(65536)
                connection.sendall(self._words)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
