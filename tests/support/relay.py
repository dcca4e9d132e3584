"""A loopback proxy that breaks things on purpose, by rules that are data.

    relay = Relay(upstream_port)
    relay.rules.append(Rule("GET /collections/*/snapshots/*", Reset(after=1000)))         # once
    relay.rules.append(Rule("POST *", DropReply(), times=2))
    ...
    relay.close(); relay.assert_all_fired()      # a fault that never happened proves nothing

The path of a rule is a glob over the whole path with its query. Every request gets a connection of its own to the
server behind (`Connection: close`), and the first rule that matches and is not used up acts on it. Positions count
bytes of the body: of the answer, or with `up=True` of the request.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import socket
import struct
import threading
from typing import TypeAlias


@dataclasses.dataclass(frozen=True)
class Reset:
    """Forward `after` bytes of the body, then reset the client's connection."""

    after: int = 0
    up: bool = False


@dataclasses.dataclass(frozen=True)
class Close:
    """Forward `after` bytes of the body, then close cleanly, as if that were all."""

    after: int = 0
    up: bool = False


@dataclasses.dataclass(frozen=True)
class Stall:
    """Forward `after` bytes of the body, then neither send nor take anything until the relay is closed."""

    after: int = 0
    up: bool = False


@dataclasses.dataclass(frozen=True)
class Refuse:
    """Reset without asking the server behind."""


@dataclasses.dataclass(frozen=True)
class FlipByte:
    """Change the byte at this position of the body."""

    at: int = 0
    up: bool = False


@dataclasses.dataclass(frozen=True)
class DropReply:
    """Let the server behind do it, take its whole answer, and hang up without passing it on."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """Answer in the server's place; with `deliver` after it has done what was asked. `unread` answers before the body."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    deliver: bool = False
    unread: bool = False


@dataclasses.dataclass(frozen=True)
class Header:
    """Say something else in a header of the answer; None leaves it out."""

    name: str
    value: str | None


Action: TypeAlias = "Reset | Close | Stall | Refuse | FlipByte | DropReply | Answer | Header"


@dataclasses.dataclass
class Rule:
    """What to do with `times` requests that match `METHOD path-glob`, once `after` of them were left alone.

    `times` None means every one, and at least one. `fired` counts them.
    """

    match: str
    action: Action
    times: int | None = 1
    after: int = 0
    fired: int = 0

    def meets(self, line: str) -> bool:
        """Whether it acts on this request; counts it."""
        if (self.times is not None and self.fired >= self.times) or not fnmatch.fnmatchcase(line, self.match):
            return False
        if self.after:
            self.after -= 1
            return False
        self.fired += 1
        return True

    @property
    def done(self) -> bool:
        """It was used as often as it says."""
        return self.fired > 0 if self.times is None else self.fired == self.times


class Relay:
    """Listens on a free port and forwards to one on 127.0.0.1. `seen` lists `METHOD path` of everything that came."""

    def __init__(self, upstream_port: int) -> None:
        self.rules: list[Rule] = []
        self.seen: list[str] = []
        self._upstream_port = upstream_port
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let go of everybody who is stalled, and stop listening."""
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def assert_all_fired(self) -> None:
        """Fails when a rule was used less often than it says."""
        unused = [rule for rule in self.rules if not rule.done]
        assert not unused, f"faults that never happened: {unused}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._guarded, args=(client,), daemon=True).start()

    def _guarded(self, client: socket.socket) -> None:
        client.settimeout(120)
        with client:
            try:
                self._serve(client)
            except OSError:
                return

    def _serve(self, client: socket.socket) -> None:
        head, rest = _read_head(client)
        if not head:
            return
        method, path = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2]
        action = self._action(f"{method} {path}")
        if isinstance(action, Refuse):
            _reset(client)
            return
        if isinstance(action, Answer) and not action.deliver:
            if not action.unread:
                _drain(client, _length(head) - len(rest))
            self._answer(client, action)
            return
        with socket.create_connection(("127.0.0.1", self._upstream_port), 120) as server:
            server.sendall(_with_header(head, "connection", "close"))
            if self._forward_up(client, server, rest, _length(head), action):
                self._bring_down(client, server, action)

    def _action(self, line: str) -> Action | None:
        with self._lock:
            self.seen.append(line)
            for rule in self.rules:
                if rule.meets(line):
                    return rule.action
        return None

    def _forward_up(
        self, client: socket.socket, server: socket.socket, rest: bytes, length: int, action: Action | None
    ) -> bool:
        """Forward the request's body; False when the action ended the conversation."""
        fault = action if isinstance(action, (Reset, Close, Stall, FlipByte)) and action.up else None
        done = 0
        while True:
            if fault is not None and not isinstance(fault, FlipByte) and done >= fault.after:
                self._break(client, fault)
                return False
            if done >= length:
                return True
            data = rest or client.recv(65536)
            rest = b""
            if not data:
                return False
            data = _damaged(data, done, fault)
            server.sendall(data)
            done += len(data)

    def _bring_down(self, client: socket.socket, server: socket.socket, action: Action | None) -> None:
        head, rest = _read_head(server)
        if isinstance(action, (DropReply, Answer)):
            while server.recv(65536):
                pass
            if isinstance(action, Answer):
                self._answer(client, action)
            return
        if isinstance(action, Header):
            head = _with_header(head, action.name, action.value)
        client.sendall(head)
        fault = action if isinstance(action, (Reset, Close, Stall, FlipByte)) and not action.up else None
        done = 0
        data = rest or server.recv(65536)
        while data:
            data = _damaged(data, done, fault)
            if fault is not None and not isinstance(fault, FlipByte) and done + len(data) > fault.after:
                client.sendall(data[: fault.after - done])
                self._break(client, fault)
                return
            client.sendall(data)
            done += len(data)
            data = server.recv(65536)
        if fault is not None and not isinstance(fault, FlipByte):
            self._break(client, fault)

    def _break(self, client: socket.socket, fault: Reset | Close | Stall) -> None:
        if isinstance(fault, Stall):
            self._closed.wait(120)
        elif isinstance(fault, Reset):
            _reset(client)

    def _answer(self, client: socket.socket, action: Answer) -> None:
        lines = [f"HTTP/1.1 {action.status} Scripted", f"content-length: {len(action.body)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in action.headers]
        client.sendall("\r\n".join([*lines, "", ""]).encode() + action.body)
        # Closing with unread bytes resets the connection; a proxy that refuses a body lingers for the client's sake.
        client.shutdown(socket.SHUT_WR)
        client.settimeout(5)
        while client.recv(65536):
            pass


def _read_head(source: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = source.recv(65536)
        if not piece:
            return b"", b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _with_header(head: bytes, name: str, value: str | None) -> bytes:
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(name.lower().encode() + b":")]
    if value is not None:
        lines.append(f"{name}: {value}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _damaged(data: bytes, done: int, fault: Action | None) -> bytes:
    if not isinstance(fault, FlipByte) or not done <= fault.at < done + len(data):
        return data
    at = fault.at - done
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _drain(source: socket.socket, size: int) -> None:
    while size > 0:
        piece = source.recv(min(size, 65536))
        if not piece:
            return
        size -= len(piece)


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
