"""What a drill makes on a server is written down first, in `.drills/<drill id>.json`: a journal like a restore's.

So whoever finds the file after a kill knows which scratch collections are surely ours. It stands apart from the journal
of restores, since it is in nobody's way: nothing that anybody wants to keep is in a scratch collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import Incompatible, IntegrityFailed
from qdrant_backup.layout import DRILLS
from qdrant_backup.storage.files import fsync_directory, make_private_directory
from qdrant_backup.storage.journal import JournalFile
from qdrant_backup.storage.reading import reading

if TYPE_CHECKING:
    from pathlib import Path

    from qdrant_backup.clock import Clock
    from qdrant_backup.model import CollectionName
    from qdrant_backup.storage.journal import Journal

__all__ = ["DrillFile", "scratch_on"]

_SUFFIX = ".json"


class DrillFile(JournalFile):
    """The journal of one drill; needs the directory's lock.

    Args:
        root: the backup directory.
        clock: dates the steps.
        drill_id: names the drill.
    """

    def __init__(self, root: Path, clock: Clock, drill_id: str) -> None:
        super().__init__(root, clock)
        self.path = root / DRILLS / f"{drill_id}{_SUFFIX}"

    def begin(self, journal: Journal) -> Journal:
        """Write the journal of a new drill; it is durable when this returns, and only then may the server be touched."""
        if make_private_directory(self.path.parent):
            fsync_directory(self.path.parent.parent)
        self.write(journal)
        return journal

    @classmethod
    def pending(cls, root: Path, clock: Clock) -> list[DrillFile]:
        """The journals of drills that did not end in order."""
        directory = root / DRILLS
        if not directory.is_dir():
            return []
        with reading(directory):
            names = sorted(path.name for path in directory.iterdir() if path.name.endswith(_SUFFIX))
        return [cls(root, clock, name.removesuffix(_SUFFIX)) for name in names]


def scratch_on(url: str, root: Path, clock: Clock) -> frozenset[CollectionName]:
    """The scratch collections that drills may have left on a server, as far as their journals can be read."""
    names: set[CollectionName] = set()
    for file in DrillFile.pending(root, clock):
        try:
            journal = file.read()
        except (IntegrityFailed, Incompatible):
            continue
        if journal is not None and journal.server.url == url:
            names |= {target.collection for target in journal.targets}
    return frozenset(names)
