"""What the groups of typed calls share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qdrant_backup.errors import OperationFailed
from qdrant_backup.qdrant.failures import could_not

if TYPE_CHECKING:
    from qdrant_backup.qdrant.calls import Call
    from qdrant_backup.qdrant.http import Http

__all__ = ["MANAGE", "READ", "SNAPSHOT", "Calls"]

READ = "read"
SNAPSHOT = "snapshot (rw on this collection)"
RESTORE = "restore (manage)"
ALIASES = "aliases (manage)"
MANAGE = "manage"
WRITE = "write (rw on this collection)"


class _Update(msgspec.Struct):
    status: str


class Calls:
    """A group of calls that go through one HTTP layer."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def _update(self, call: Call) -> None:
        """Make a call with `wait=true` that changes points or indexes.

        Raises:
            OperationFailed: it was not carried out; `UpdateStatus` in lib/collection/src/operations/types.rs (1.18.3) has
                an answer with status 200 for an update that was rejected, and for one that is still waiting.
            NotQdrant: something else answered.
        """
        status = self._http.result(call, _Update).status
        if status != "completed":
            raise OperationFailed(could_not(call, self._http.target), why=f"the server calls it {status!r}")
