"""A restore that has not ended stands in the way of everything that would touch or copy its collections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import RefusedForSafety
from qdrant_backup.storage.journal import JournalFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qdrant_backup.operations.ports import Ports

__all__ = ["refuse_open_journal"]


def refuse_open_journal(ports: Ports, names: Iterable[str] | None = None) -> None:
    """Go on only when no restore is half done.

    A backup of a collection that is half restored would be listed beside good ones, and count as the newest.

    Args:
        ports: what to act through; the backup directory's journal is looked at.
        names: the collections that matter; any open journal when left out.

    Raises:
        RefusedForSafety: a restore of one of them has not ended.
        IntegrityFailed: its journal is damaged.
        Incompatible: a newer version of this tool wrote it.
    """
    journal = JournalFile(ports.directory.root, ports.clock).read()
    if journal is None or (names is not None and journal.server.url != ports.server.url):
        return
    targets = [target.collection for target in journal.targets]
    touched = targets if names is None else sorted(set(names) & set(targets))
    if not touched:
        return
    where = f" --output {ports.directory.root}"
    ways = f"`qdrant-backup undo --yes{where}` to put everything back"
    if not journal.rolling_back:
        ways = f"`qdrant-backup resume --yes{where}` to finish it, or {ways}"
    raise RefusedForSafety(
        f"The {journal.kind.value} {journal.restore_id} has not ended",
        why=f"it was interrupted while it worked on {', '.join(touched)}",
        advice=f"Run {ways}.",
    )
