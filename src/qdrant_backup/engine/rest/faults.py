"""Scripted faults: what goes wrong on purpose, as data. For tests of those who must survive it.

A script is a JSON list of

    {"match": "POST /collections/*/snapshots", "action": "status", "after": 0, "times": 1, ...}

`match` is a method (or `*`) and a path pattern; `after` requests that match are left alone first, then `times` of them
(null: all) meet the fault. The actions and their own keys:

    status          answer `code` with `body` (text: the error's message; an object: the whole body) and `retry_after`
    html            answer 200 with a web page, as a proxy's login does
    pretend         answer 200 `{"result": true}` and do nothing
    delay           wait `delay_s`, then go on
    stall           send `bytes` of the answer, then nothing more for `delay_s` (default: an hour)
    cut             send `bytes` of the answer, then close; with `"clean": true` end the stream as if it were whole
    reset           send `bytes` of the answer, then reset the connection
    no_answer       do it, and close instead of answering
    flip            flip one bit of the answer's byte number `bytes`
    lie_checksum    answer with another checksum than the true one
    lose_points     restore, and lose `points` of them
    lose_shard      restore, and lose all points of shard `shard`
    drop_indexes    restore, and lose all payload indexes
    fail_after_drop drop the old data, then answer 500; the collection is broken until the next good restore
    slow_restore    wait `delay_s` between unpacking and dropping the old data, while the client may leave
    die             end the process at `stage`: request, before_drop, after_drop, loaded, or after `bytes` of the answer
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
import shutil
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import qdrant_edge as edge
from starlette.responses import Response

from qdrant_backup.engine.rest.answers import error_body, service_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from qdrant_backup.clock import Clock
    from qdrant_backup.engine.rest.collection import Collection

__all__ = ["ACTIONS", "PATH", "Fault", "FaultInjector", "FaultScript", "Transports"]

PATH = "/__faults"
"""GET answers the script with how often each fault fired; PUT replaces it."""

HOUR_S = 3600.0
ACTIONS = [
    "status",
    "html",
    "pretend",
    "delay",
    "stall",
    "cut",
    "reset",
    "no_answer",
    "flip",
    "lie_checksum",
    "lose_points",
    "lose_shard",
    "drop_indexes",
    "fail_after_drop",
    "slow_restore",
    "die",
]
_RESTORING = ("lose_points", "lose_shard", "drop_indexes", "fail_after_drop", "slow_restore", "die")
_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"
_CHECKSUM = re.compile(rb'("checksum":")([0-9a-f])')

Transports = dict[Any, asyncio.Transport]
"""The open connections by the client's address: an application cannot reset a connection, its server can."""


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of a script, with how often it matched and fired."""

    match: str
    action: str
    after: int = 0
    times: int | None = 1
    code: int = 500
    body: Any = "scripted fault"
    retry_after: int | None = None
    delay_s: float | None = None
    bytes: int = 0
    clean: bool = False
    points: int = 1
    shard: int = 0
    stage: str = "request"
    matched: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        """Refuse actions that do not exist."""
        if self.action not in ACTIONS:
            message = f"there is no action {self.action!r}"
            raise ValueError(message)

    def meets(self, method: str, path: str) -> bool:
        """Whether it strikes this request; counts it."""
        wanted, _, pattern = self.match.partition(" ")
        if wanted not in ("*", method) or not fnmatch.fnmatchcase(path, pattern):
            return False
        self.matched += 1
        if self.matched <= self.after or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True


class FaultScript:
    """The faults of a running server.

    Args:
        clock: for the waits inside restores.
        die: ends the process at once.
        transports: the open connections.
    """

    def __init__(self, clock: Clock, die: Callable[[], None], transports: Transports) -> None:
        self.clock = clock
        self.die = die
        self.transports = transports
        self.faults: list[Fault] = []

    def load(self, raw: bytes) -> None:
        """Replace the script.

        Raises:
            msgspec.MsgspecError: it is none.
        """
        self.faults = msgspec.json.decode(raw, type=list[Fault])

    def struck(self, method: str, path: str) -> Fault | None:
        """The first fault that strikes this request."""
        return next((fault for fault in self.faults if fault.meets(method, path)), None)

    def spoil(self, fault: Fault) -> Callable[[str, Collection, Mapping[int, Path]], None]:
        """What the fault does to a restore at each of its stages."""

        def at(stage: str, target: Collection, sources: Mapping[int, Path]) -> None:
            if fault.action == "die" and fault.stage == stage:
                self.die()
            elif fault.action == "slow_restore" and stage == "before_drop":
                self.clock.sleep(fault.delay_s or 1.0)
            elif fault.action == "fail_after_drop" and stage == "after_drop":
                for source in sources.values():
                    shutil.rmtree(source)
                description = "Failed to read segment state: scripted fault"
                raise service_error(description)
            elif stage == "loaded":
                _lose(fault, target)

        return at


def _lose(fault: Fault, target: Collection) -> None:
    """Lose what the fault says, after a restore that will answer 200."""
    if fault.action == "lose_shard":
        target.shards[fault.shard].update(edge.UpdateOperation.delete_points_by_filter(edge.Filter()))
    elif fault.action == "lose_points":
        left = fault.points
        for shard in target.shards:
            records: list[Any] = (
                shard.engine.scroll(edge.ScrollRequest(None, left, None, False, False))[0] if left else []
            )
            if records:
                shard.update(edge.UpdateOperation.delete_points([record.id for record in records]))
                left -= len(records)
    elif fault.action == "drop_indexes":
        for field in list(target.record.schema):
            target.delete_index(field)


class FaultInjector:
    """Stands before the application, and lets faults strike."""

    def __init__(self, app: ASGIApp, script: FaultScript) -> None:
        self._app = app
        self._script = script

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, well or badly."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == PATH:
            await self._control(scope, receive, send)
            return
        fault = self._script.struck(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        await self._strike(fault, scope, receive, send)

    async def _control(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "PUT":
            raw = b""
            more = True
            while more:
                message = await receive()
                raw += message.get("body", b"")
                more = message.get("more_body", False)
            try:
                self._script.load(raw)
            except (msgspec.MsgspecError, ValueError) as error:
                await Response(error_body(str(error)), 400, media_type="application/json")(scope, receive, send)
                return
        body = msgspec.json.encode(self._script.faults)
        await Response(body, media_type="application/json")(scope, receive, send)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.action == "die" and fault.stage == "request" and not fault.bytes:
            self._script.die()
        if fault.action in ("status", "html", "pretend"):
            await _drain(receive)
            await _canned(fault)(scope, receive, send)
            return
        if fault.action == "delay":
            await asyncio.sleep(fault.delay_s or 1.0)
        if fault.action in _RESTORING:
            scope["qdrant_spoil"] = self._script.spoil(fault)
        connection = self._script.transports.get(tuple(scope.get("client") or ()))
        sender = _Sender(fault, send, connection, self._script.die)
        try:
            await self._app(scope, receive, sender)
        except _ConnectionEndedError:
            return


async def _drain(receive: Receive) -> None:
    """Read the request to its end: a client that is still sending would not see the answer."""
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)


def _canned(fault: Fault) -> Response:
    if fault.action == "html":
        return Response(_PAGE, 200, media_type="text/html; charset=utf-8")
    if fault.action == "pretend":
        return Response(b'{"result":true,"status":"ok","time":0.0}', media_type="application/json")
    text = isinstance(fault.body, str)
    body = error_body(fault.body) if text else msgspec.json.encode(fault.body)
    headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    return Response(body, fault.code, headers, media_type="application/json")


class _ConnectionEndedError(Exception):
    """The fault closed the connection; nothing more can be sent."""


class _Sender:
    """Passes an answer on, until the fault strikes it."""

    def __init__(self, fault: Fault, send: Send, connection: asyncio.Transport | None, die: Callable[[], None]) -> None:
        self._fault = fault
        self._send = send
        self._connection = connection
        self._die = die
        self._sent = 0

    async def __call__(self, message: Message) -> None:
        action = self._fault.action
        if action == "no_answer":
            self._close()
        if message["type"] == "http.response.start":
            await self._start(message)
        elif action in ("cut", "reset", "stall", "die"):
            await self._until(message)
        else:
            await self._send({**message, "body": self._spoiled(message.get("body", b""))})

    async def _start(self, message: Message) -> None:
        if self._fault.action == "cut" and self._fault.clean:
            headers = [pair for pair in message["headers"] if pair[0].lower() != b"content-length"]
            message = {**message, "headers": headers}
        await self._send(message)

    def _spoiled(self, body: bytes) -> bytes:
        at, self._sent = self._fault.bytes - self._sent, self._sent + len(body)
        if self._fault.action == "lie_checksum":
            return _CHECKSUM.sub(lambda found: found[1] + (b"0" if found[2] != b"0" else b"1"), body)
        if self._fault.action == "flip" and 0 <= at < len(body):
            return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        return body

    async def _until(self, message: Message) -> None:
        """Send up to the fault's number of bytes, then strike."""
        fault, body = self._fault, message.get("body", b"")
        if fault.action == "die" and not fault.bytes:
            await self._send(message)
            return
        left = fault.bytes - self._sent
        if len(body) < left:
            self._sent += len(body)
            await self._send(message)
            return
        await self._send({"type": "http.response.body", "body": body[:left], "more_body": True})
        if fault.action == "die":
            self._die()
        if fault.action == "stall":
            await asyncio.sleep(HOUR_S if fault.delay_s is None else fault.delay_s)
        if fault.action == "cut" and fault.clean:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            raise _ConnectionEndedError
        self._close(reset=fault.action == "reset")

    def _close(self, *, reset: bool = False) -> None:
        """End the connection.

        Raises:
            _ConnectionEndedError: always.
        """
        if self._connection is not None:
            raw = self._connection.get_extra_info("socket")
            if reset and raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self._connection.abort()
            else:
                self._connection.close()
        raise _ConnectionEndedError
