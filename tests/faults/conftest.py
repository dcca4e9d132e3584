"""The servers that cases play on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.harness.case import Case
from faults.harness.play import play
from faults.harness.plugin import missing
from faults.harness.watched import Watched
from support.servers import RunningServer

Play = Callable[[Case, str], Watched]


@pytest.fixture
def play_case(shared_servers: Any, tmp_path: Path) -> Play:
    """Plays a case on a server of its kind, shared by a worker's cases and emptied after each."""

    def start(case: Case, kind: str) -> Watched:
        lacking = missing(case.needs)
        if lacking:
            pytest.skip(f"needs {', '.join(lacking)}")
        server: RunningServer = shared_servers.get(kind)
        try:
            return play(case, server, tmp_path / "scene")
        finally:
            if server.alive:
                server.empty()

    return start
