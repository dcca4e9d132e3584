"""What the groups of typed calls share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdrant_backup.qdrant.http import Http

__all__ = ["MANAGE", "READ", "SNAPSHOT", "Calls"]

READ = "read"
SNAPSHOT = "snapshot (rw on this collection)"
RESTORE = "restore (manage)"
ALIASES = "aliases (manage)"
MANAGE = "manage"
WRITE = "write (rw on this collection)"


class Calls:
    """A group of calls that go through one HTTP layer."""

    def __init__(self, http: Http) -> None:
        self._http = http
