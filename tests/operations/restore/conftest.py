"""A workbench on each server."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.restoring import Lab
from support.servers import RunningServer


@pytest.fixture
def lab(server: RunningServer, tmp_path: Path) -> Lab:
    return Lab(server, tmp_path / "backups", tmp_path / "scratch")


@pytest.fixture
def embedded(embedded_server: RunningServer, tmp_path: Path) -> Lab:
    """For scripted faults."""
    return Lab(embedded_server, tmp_path / "backups", tmp_path / "scratch", wait_s=8.0)
