"""Secrets that are planted wherever a secret can be, and the scene that holds them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.harness.scene import CANARY, Scene, restore_world
from support.servers import API_KEY

__all__ = ["INTO_KEY", "IN_URL", "LOOK", "QUESTION", "SECRETS", "WRONG_KEY", "scene"]

INTO_KEY = "into-canary-83d1-never-shown"
SERVE_KEY = "serve-canary-19ac-never-shown"
WRONG_KEY = "wrong-canary-77b2-never-shown"
IN_URL = "url-canary-4e0b-never-shown"
SECRETS = (CANARY, API_KEY, INTO_KEY, SERVE_KEY, WRONG_KEY, IN_URL)
QUESTION = "memory"
LOOK = ("--collection", "discussions")


@pytest.fixture
def scene(shared_servers: Any, tmp_path: Path) -> Iterator[Scene]:
    """A server with content, a backup of it, an installation that has changed since, and secrets wherever they can be."""
    server = shared_servers.get("embedded")
    made = Scene(server, tmp_path / "scene")
    made.line.settings |= {"QDRANT_INTO_API_KEY": INTO_KEY, "QDRANT_BACKUP_SERVE_API_KEY": SERVE_KEY}
    try:
        restore_world(made)
        shutil.rmtree(made.line.directory / ".cache", ignore_errors=True)
        env = made.line.install / "docker" / ".env"
        env.write_text(f"QDRANT_PORT=26350\nQDRANT_API_KEY={API_KEY}\nOTHER_SECRET={CANARY}-changed\n")
        (made.line.install / "logs").mkdir()
        (made.line.install / "logs" / "agent.log").write_text("started\n")
        yield made
    finally:
        made.close()
        if server.alive:
            server.empty()
