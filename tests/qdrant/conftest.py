"""Servers that misbehave, and a clock that does not wait."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import pytest

from qdrant_backup.qdrant.server import Http, Server, Target
from qdrant_backup.secret import Secret
from support.relay import Relay
from support.scripted import Reply, Scripted

CANARY = "canary-7f3a-Zq9"


class FakeClock:
    """Time passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 2, 3, 14, 30, 52, tzinfo=timezone.utc) + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.passed_s += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def qdrant() -> Iterator[Scripted]:
    server = Scripted()
    server.on("GET /", Reply(200, b'{"title":"qdrant - vector search engine","version":"1.18.3","commit":"abc"}'))
    yield server
    server.close()


@pytest.fixture
def relay(qdrant: Scripted) -> Iterator[Relay]:
    between = Relay(qdrant.port)
    yield between
    between.close()
    between.assert_all_fired()


@pytest.fixture
def connect(clock: FakeClock) -> Iterator[Callable[..., Server]]:
    """Makes servers with the canary as their key, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **changes: object) -> Server:
            target = Target.parse(url, api_key=Secret(CANARY))
            target = dataclasses.replace(target, **{"silence_s": 20.0, **changes})
            server = Server(Http(target, clock=clock))
            stack.callback(server.close)
            return server

        yield make


@pytest.fixture
def server(qdrant: Scripted, connect: Callable[..., Server]) -> Server:
    """Straight to the scripted server."""
    return connect(qdrant.url)


@pytest.fixture
def through(relay: Relay, connect: Callable[..., Server]) -> Server:
    """To the scripted server through the relay."""
    return connect(relay.url)
