"""Running the server: one data directory, one port, until SIGTERM."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from qdrant_backup.clock import Clock, SystemClock
from qdrant_backup.engine.rest.app import VERSION, create_app
from qdrant_backup.engine.rest.faults import FaultScript, Transports
from qdrant_backup.engine.rest.registry import replace_file
from qdrant_backup.engine.rest.storage import Storage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from starlette.types import ASGIApp

__all__ = ["listening_on", "run", "serve_app"]

KEEP_ALIVE_S = 30

GRACE_S = 5
"""How long open requests may go on after SIGTERM."""


def _die_nowhere() -> None:
    """A server in somebody else's process does not end it."""


class _Server(uvicorn.Server):
    """Tells its port once it accepts connections, and ends with exit code 0 on SIGTERM."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._captured_signals.clear()


def _protocol(transports: Transports) -> type[asyncio.Protocol]:
    """The HTTP protocol, noting its connections for the faults that break them."""

    class Noted(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            transports[transport.get_extra_info("peername")] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            transports.pop(self.transport.get_extra_info("peername"), None)
            super().connection_lost(exc)

    return Noted


def listening_on(host: str, port: int) -> socket.socket:
    """A socket on that address, connections not yet accepted; `port` 0 takes a free one. Raises OSError."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # An answer is written as head and body. With Nagle's algorithm the body waits until the client has acknowledged
        # the head, which clients put off for 40 ms. Accepted connections inherit the option; asyncio sets it only on
        # sockets that were made with their protocol's number.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening


def serve_app(app: ASGIApp, listening: socket.socket, transports: Transports, tell: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        app: what answers; its shutdown is called at the end.
        listening: a bound socket.
        transports: gets the connections, for faults that break them.
        tell: is told the port once connections are accepted.
    """
    bound: int = listening.getsockname()[1]
    config = uvicorn.Config(
        app,
        http=_protocol(transports),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    _Server(config, lambda: tell(bound)).run(sockets=[listening])


def run(  # noqa: PLR0913 - each is an option of the command line
    data_dir: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    api_key: str | None = None,
    read_only_api_key: str | None = None,
    version: str = VERSION,
    port_file: Path | None = None,
    faults: bytes | None = None,
    announce: Callable[[int], None] | None = None,
    die: Callable[[], None] = _die_nowhere,
    clock: Clock | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then flush everything and return.

    Args:
        data_dir: where the state is kept; made when missing. Only one process may use it at a time.
        host: the address to listen on.
        port: the port; 0 for a free one.
        api_key: the key for everything; None lets everybody in.
        read_only_api_key: the key for reading.
        version: what `GET /` says.
        port_file: gets the port as text once connections are accepted; appears whole or not at all.
        faults: a script (faults.py); None for a server without such a thing.
        announce: is told the port once connections are accepted.
        die: ends the process at once, for the fault of that name.
        clock: the time for names and answers.

    Raises:
        OSError: the port is taken, or the directory cannot be used.
        Locked: another process serves the directory.
        msgspec.MsgspecError: the faults are no script.
    """
    clock = clock or SystemClock()
    with listening_on(host, port) as listening:
        transports: Transports = {}
        script = None
        if faults is not None:
            script = FaultScript(clock, die, transports)
            script.load(faults)
        storage = Storage(data_dir, clock)
        app = create_app(storage, api_key=api_key, read_only_api_key=read_only_api_key, version=version, faults=script)

        def tell(bound: int) -> None:
            if port_file is not None:
                replace_file(port_file, str(bound).encode())
            if announce is not None:
                announce(bound)

        serve_app(app, listening, transports, tell)
