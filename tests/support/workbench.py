"""A workbench and a command line on each server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command import CommandLine
from support.relay import Relay
from support.restoring import Lab
from support.servers import RunningServer
from support.worlds import lab_at


@pytest.fixture
def lab(server: RunningServer, tmp_path: Path) -> Lab:
    return lab_at(server, tmp_path)


@pytest.fixture
def embedded(embedded_server: RunningServer, tmp_path: Path) -> Lab:
    """For scripted faults."""
    return lab_at(embedded_server, tmp_path)


@pytest.fixture
def line(server: RunningServer, tmp_path: Path) -> CommandLine:
    return CommandLine.at(tmp_path, server)


@pytest.fixture
def embedded_line(embedded_server: RunningServer, tmp_path: Path) -> CommandLine:
    return CommandLine.at(tmp_path, embedded_server)


@pytest.fixture
def relay_to() -> Iterator[Callable[[RunningServer], Relay]]:
    made: list[Relay] = []

    def start(server: RunningServer) -> Relay:
        made.append(Relay(server.port))
        return made[-1]

    yield start
    for relay in made:
        relay.close()
