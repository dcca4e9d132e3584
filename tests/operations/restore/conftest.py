"""A workbench on each server."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdrant_backup.clock import SystemClock
from support.restoring import Lab
from support.servers import RunningServer


@pytest.fixture
def lab(server: RunningServer, tmp_path: Path) -> Lab:
    return Lab(server, tmp_path / "backups", tmp_path / "scratch")


@pytest.fixture
def embedded(embedded_server: RunningServer, tmp_path: Path) -> Lab:
    """For scripted faults."""
    return Lab(embedded_server, tmp_path / "backups", tmp_path / "scratch", wait_s=8.0)


@pytest.fixture
def patient(server: RunningServer, tmp_path: Path) -> Lab:
    """For kills after which the server goes on by itself: the pauses between two looks at it are those that users have."""
    return Lab(server, tmp_path / "backups", tmp_path / "scratch", clock=SystemClock())


@pytest.fixture
def patient_embedded(embedded_server: RunningServer, tmp_path: Path) -> Lab:
    """For scripted faults of that kind."""
    return Lab(embedded_server, tmp_path / "backups", tmp_path / "scratch", wait_s=8.0, clock=SystemClock())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A restore takes several snapshots and engine children: on a busy machine that is minutes, and no failure."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))
