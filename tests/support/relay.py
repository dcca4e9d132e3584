"""A loopback proxy that breaks things on purpose, by rules that are data.

    relay = Relay(upstream_port)
    relay.rules.append(Rule("GET /collections/*/snapshots/*", Reset(after=1000)))         # once
    relay.rules.append(Rule("POST *", DropReply(), times=2))
    ...
    relay.close(); relay.assert_all_fired()      # a fault that never happened proves nothing

The path of a rule is a glob over the whole path with its query. Every request gets a connection of its own to the
server behind (`Connection: close`), and the first rule that matches and is not used up acts on it. Positions count
bytes of the body: of the answer, or with `up=True` of the request. One below 0 counts from the body's end, a fraction
is a part of it; both need a body of known length.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import socket
import ssl
import struct
import threading
import time

from support.relay_actions import (
    ENDING,
    Action,
    Answer,
    Close,
    Delay,
    DropReply,
    Elsewhere,
    FlipByte,
    Flood,
    Header,
    Mute,
    Positioned,
    Rate,
    Refuse,
    Reset,
    Rewrite,
    Stall,
)

__all__ = [
    "Answer",
    "Close",
    "Delay",
    "DropReply",
    "Elsewhere",
    "FlipByte",
    "Flood",
    "Header",
    "Mute",
    "Rate",
    "Refuse",
    "Relay",
    "Reset",
    "Rewrite",
    "Rule",
    "Stall",
]


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
    """Listens on a free port and forwards to one on 127.0.0.1. `seen` lists `METHOD path` of everything that came.

    With a `context` it speaks TLS to its clients, as a proxy in front of Qdrant does.
    """

    def __init__(self, upstream_port: int, context: ssl.SSLContext | None = None) -> None:
        self.rules: list[Rule] = []
        self.seen: list[str] = []
        self._context = context
        self._upstream_port = upstream_port
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._open = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Or each answer takes 40 ms longer.
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let go of everybody who is stalled, and stop listening."""
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def wait_until_idle(self, limit_s: float) -> None:
        """Wait until nothing is on its way any more; fails when something still is after so long."""
        deadline = time.monotonic() + limit_s
        while self._open:
            assert time.monotonic() < deadline, f"{self._open} conversations still go on"
            time.sleep(0.05)

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
        with self._lock:
            self._open += 1
        try:
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            with client:
                self._serve(client)
        except OSError:
            client.close()
        finally:
            with self._lock:
                self._open -= 1

    def _serve(self, client: socket.socket) -> None:
        head, rest = _read_head(client)
        if not head:
            return
        method, path = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2]
        action = self._action(f"{method} {path}")
        if isinstance(action, Refuse):
            _reset(client)
            return
        if isinstance(action, Delay):
            self._closed.wait(action.seconds)
        if self._served_alone(client, action, _length(head) - len(rest)):
            return
        port = action.port if isinstance(action, Elsewhere) else self._upstream_port
        with socket.create_connection(("127.0.0.1", port), 120) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.sendall(_with_header(head, "connection", "close"))
            if self._forward_up(client, server, rest, _length(head), action):
                self._bring_down(client, server, action)

    def _served_alone(self, client: socket.socket, action: Action | None, unread_bytes: int) -> bool:
        """Whether the action needs no server behind, and has been done."""
        if not isinstance(action, (Answer, Mute, Flood)) or (not isinstance(action, Flood) and action.deliver):
            return False
        if not (isinstance(action, Answer) and action.unread):
            _drain(client, unread_bytes)
        if isinstance(action, Answer):
            self._answer(client, action)
        elif isinstance(action, Mute):
            self._closed.wait(120)
        else:
            _flood(client, action)
        return True

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
        fault = _placed(action, length, up=True)
        pace = action if isinstance(action, Rate) and action.up else None
        done = 0
        while True:
            if isinstance(fault, ENDING) and done >= fault.after:
                self._break(client, fault)
                return False
            if done >= length:
                return True
            data = rest or client.recv(_portion(pace))
            rest = b""
            if not data:
                return False
            data = _damaged(data, done, fault)
            self._send(server, data, pace)
            done += len(data)

    def _bring_down(self, client: socket.socket, server: socket.socket, action: Action | None) -> None:
        head, rest = _read_head(server)
        if isinstance(action, (DropReply, Answer, Mute)):
            while server.recv(65536):
                pass
            if isinstance(action, Answer):
                self._answer(client, action)
            elif isinstance(action, Mute):
                self._closed.wait(120)
            return
        if isinstance(action, Rewrite):
            client.sendall(_rewritten(server, head, rest, action))
            return
        fault = _placed(action, _length(head), up=False)
        if isinstance(action, Header):
            head = _with_header(head, action.name, action.value)
        if isinstance(action, Close) and action.unsized:
            head = _with_header(head, "content-length", None)
        client.sendall(head)
        pace = action if isinstance(action, Rate) and not action.up else None
        done = 0
        data = rest or server.recv(65536)
        while data:
            data = _damaged(data, done, fault)
            if isinstance(fault, ENDING) and done + len(data) > fault.after:
                client.sendall(data[: int(fault.after) - done])
                self._break(client, fault)
                return
            self._send(client, data, pace)
            done += len(data)
            data = server.recv(65536)
        if isinstance(fault, ENDING):
            self._break(client, fault)

    def _send(self, to: socket.socket, data: bytes, pace: Rate | None) -> None:
        if pace is None:
            to.sendall(data)
            return
        step = _portion(pace)
        for at in range(0, len(data), step):
            part = data[at : at + step]
            to.sendall(part)
            if self._closed.wait(len(part) / pace.bytes_per_s):
                return

    def _break(self, client: socket.socket, fault: Reset | Close | Stall) -> None:
        if isinstance(fault, Stall):
            self._closed.wait(120)
        elif isinstance(fault, Reset):
            _reset(client)

    def _answer(self, client: socket.socket, action: Answer) -> None:
        lines = [f"HTTP/1.1 {action.status} Scripted", f"content-length: {len(action.body)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in action.headers]
        client.sendall("\r\n".join([*lines, "", ""]).encode() + action.body)
        if action.abrupt:
            time.sleep(0.1)  # The client may see the answer or only the reset, as with a real proxy.
            _reset(client)
            return
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


def _rewritten(server: socket.socket, head: bytes, body: bytes, action: Rewrite) -> bytes:
    # The length decides what the body is: a connection that the server keeps open has no end.
    while b"transfer-encoding: chunked" not in head.lower() and len(body) < _length(head):
        piece = server.recv(65536)
        if not piece:
            break
        body += piece
    body, found = re.subn(action.pattern, action.replacement, body)
    # A rule whose body does not match shows up as a request that nobody answers, not as a case that passes.
    return _with_header(head, "content-length", str(len(body))) + body if found else b""


def _placed(action: Action | None, length: int, *, up: bool) -> Positioned | None:
    """The fault with its position as a number of bytes; None when the action is none, or one of the other direction."""
    if not isinstance(action, (Reset, Close, Stall, FlipByte)) or action.up != up:
        return None
    at = action.at if isinstance(action, FlipByte) else action.after
    if at < 0:
        at = length + at
    elif 0 < at < 1:
        at = int(length * at)
    return dataclasses.replace(action, at=at) if isinstance(action, FlipByte) else dataclasses.replace(action, after=at)


def _portion(pace: Rate | None) -> int:
    """How much is forwarded at once: about a tenth of a second's bytes."""
    return 65536 if pace is None else max(1, min(65536, int(pace.bytes_per_s / 10)))


def _flood(client: socket.socket, action: Flood) -> None:
    filling = action.size_bytes - len(action.begin) - len(action.end)
    piece = action.fill * (65536 // len(action.fill))
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {action.size_bytes}\r\n\r\n"
    client.sendall(head.encode() + action.begin)
    while filling > 0:
        client.sendall(piece[:filling])
        filling -= len(piece)
    client.sendall(action.end)


def _damaged(data: bytes, done: int, fault: Action | None) -> bytes:
    if not isinstance(fault, FlipByte) or not done <= fault.at < done + len(data):
        return data
    at = int(fault.at) - done
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
