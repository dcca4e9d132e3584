"""What an operation acts through: the edges of the program as one value, and what it says while it works."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from qdrant_backup.clock import Clock
    from qdrant_backup.engine.engine import Engine
    from qdrant_backup.engine.opened import Openings
    from qdrant_backup.installation.installation import Installation
    from qdrant_backup.model import CollectionName, Progress
    from qdrant_backup.operations.events import Event
    from qdrant_backup.qdrant.server import Server
    from qdrant_backup.storage.directory import BackupDirectory

__all__ = ["Ports"]


@dataclasses.dataclass(frozen=True)
class Ports:
    """Everything an operation may touch.

    Attributes:
        server: the Qdrant server that is backed up or restored into.
        engine: the embedded engine's guarded child processes.
        openings: opens backups in them, to be read and searched.
        directory: the backup directory.
        installation: the AI Memory installation.
        clock: the time, and waiting.
        progress: where bytes are counted for a terminal.
        tell: takes the events of `operations/events.py` as they happen, in the order the user should read them.
        token: random hexadecimal text, for names on a server that nobody else can have.
        server_wait_s: how long to wait for what the server goes on doing by itself.
        safety_days: how long the safety backup of an ended restore is kept.
    """

    server: Server
    engine: Engine
    openings: Openings
    directory: BackupDirectory
    installation: Installation
    clock: Clock
    progress: Progress
    tell: Callable[[Event], None]
    token: Callable[[], str]
    server_wait_s: float = 900.0
    safety_days: int = 7

    @property
    def address(self) -> tuple[str, int]:
        """The server's host and port, for the manifest and for people."""
        parts = urlsplit(self.server.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    def working_on(self, task: str, collection: CollectionName) -> None:
        """Show what is being done now, where somebody watches."""
        self.progress.begin(f"{task} {collection}", None)
