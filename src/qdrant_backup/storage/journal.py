"""The journal: what a restore is about to do, what was there before, and how far it has come.

While a restore runs, `.restore-journal.json` in the backup directory names its plan, the server it talks to, the safety
backup, and every target with its prior state. Each step is written down twice, both times durably: its intent before
it is taken, its outcome after. So whoever finds the file after a kill knows what may be under way on the server.

When the restore ends, the journal becomes a record, `.undo/<order>-<restore id>.json`, which `undo` works from. Records
are ordered by the number in their name, given when the restore began: a clock that went back does not change which one
is the last.

The file carries a checksum (`documents.py`). A damaged journal is never skipped, because behind it may stand a
collection that is neither old nor new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from qdrant_backup.errors import Incompatible, IntegrityFailed, NotWritable, RefusedForSafety
from qdrant_backup.layout import JOURNAL, UNDO
from qdrant_backup.storage.documents import NewerFormat, Unsound, seal, unseal
from qdrant_backup.storage.files import (
    fsync_directory,
    make_private_directory,
    remove_file,
    rename_durably,
    write_atomically,
)
from qdrant_backup.storage.journal_model import (
    JOURNAL_FORMAT,
    Journal,
    JournalServer,
    Prior,
    RestoreKind,
    Step,
    Target,
    TargetState,
)
from qdrant_backup.storage.reading import read_small

if TYPE_CHECKING:
    from pathlib import Path

    from qdrant_backup.clock import Clock
    from qdrant_backup.model import BackupId

__all__ = [
    "Journal",
    "JournalFile",
    "JournalServer",
    "Prior",
    "RestoreKind",
    "RestoreRecord",
    "Step",
    "Target",
    "TargetState",
]

_RECORD_SUFFIX = ".json"
_CONSUMED_SUFFIX = ".json.undone"
_ORDER_DIGITS = 6
_LARGEST_BYTES = 256 << 20


class RestoreRecord(NamedTuple):
    """A finished restore and the file that tells of it."""

    path: Path
    journal: Journal


def encode(journal: Journal) -> bytes:
    """The journal's file, checksum included."""
    return seal(journal)


def decode(data: bytes, path: Path) -> Journal:
    """The journal in a file's bytes; `path` is for the message.

    Raises:
        IntegrityFailed: it is damaged.
        Incompatible: a newer version of this tool wrote it.
    """
    try:
        return unseal(data, Journal, JOURNAL_FORMAT)
    except NewerFormat as error:
        raise Incompatible(
            f"{path} was written by a newer qdrant-backup",
            why="a restore of that version is recorded in it",
            advice="Update qdrant-backup, and run `qdrant-backup resume` or `undo` with it.",
        ) from error
    except Unsound as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> IntegrityFailed:
    return IntegrityFailed(
        f"The journal {path} is damaged",
        why=why,
        advice=(
            f"A restore may have been interrupted. Its safety backup is the newest .safety-* directory in {path.parent}: "
            "compare the collections with it, restore it by its path if one is wrong, then move the journal away."
        ),
    )


class JournalFile:
    """The one open journal of a backup directory, and the records of the finished ones.

    Everything but `read` and `records` needs the directory's lock.

    Args:
        root: the backup directory (not the directory of a backup that was named by its path).
        clock: dates the steps.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self.path = root / JOURNAL
        self._records = root / UNDO
        self._clock = clock

    def read(self) -> Journal | None:
        """The journal of a restore that has not ended, or None.

        Raises:
            IntegrityFailed: there is one, and it is damaged.
            Incompatible: a newer version of this tool wrote it.
            NotWritable: it cannot be read.
        """
        if not self.path.is_symlink() and not self.path.exists():
            return None
        return decode(read_small(self.path, _LARGEST_BYTES), self.path)

    def begin(self, journal: Journal) -> Journal:
        """Open the journal of a new restore and return it with its order.

        Raises:
            RefusedForSafety: another restore has not ended.
            IntegrityFailed: the journal that is there, or a record, is damaged.
            NotWritable: it cannot be written, or the records' directory is a link.
        """
        left = self.read()
        if left is not None:
            raise RefusedForSafety(
                f"The {left.kind.value} {left.restore_id} has not ended",
                why=f"its journal is open: {self.path}",
                advice="Run `qdrant-backup resume` to finish it, or `qdrant-backup undo` to put everything back.",
            )
        if self._records.is_symlink():  # Said now: when the restore has ended, its record would have no place.
            raise NotWritable(f"{self._records} is a symbolic link", why="nothing is written through one")
        opened = journal.but(order=1 + max((order for order, _ in self._numbered()), default=0))
        self.write(opened)
        return opened

    def write(self, journal: Journal) -> None:
        """Make this state of the journal the one a later run finds; durable when it returns."""
        write_atomically(self.path, encode(journal))

    def intend(self, journal: Journal, collection: str, action: str, **changes: Any) -> Journal:
        """Write down a step before it is taken.

        Args:
            journal: as it stands.
            collection: the target.
            action: what will be done.
            changes: fields of the target that change with it (`state`, `upload_name`, ...); `detail`, a dict, goes to the step.
        """
        detail = changes.pop("detail", {})
        step = Step(action=action, intended_at=self._clock.now(), detail=detail)
        changed = journal.with_target(collection, steps=(*journal.target(collection).steps, step), **changes)
        self.write(changed)
        return changed

    def conclude(self, journal: Journal, collection: str, outcome: str = "done", **changes: Any) -> Journal:
        """Write down how the target's open step went, with the fields of the target that change with it.

        Raises:
            ValueError: no step of that target is open.
        """
        target = journal.target(collection)
        step = target.open_step
        if step is None:
            msg = f"no step of {collection} is open"
            raise ValueError(msg)
        ended = msgspec.structs.replace(step, concluded_at=self._clock.now(), outcome=outcome)
        steps = tuple(ended if each is step else each for each in target.steps)
        changed = journal.with_target(collection, steps=steps, **changes)
        self.write(changed)
        return changed

    def close(self, journal: Journal) -> RestoreRecord:
        """End the restore: its journal becomes a record, in one step, so that one of the two is always there."""
        self.write(journal)
        make_private_directory(self._records)
        record = self._records / f"{journal.order:0{_ORDER_DIGITS}d}-{journal.restore_id}{_RECORD_SUFFIX}"
        rename_durably(self.path, record)
        fsync_directory(self.path.parent)
        return RestoreRecord(record, journal)

    def drop(self) -> None:
        """Delete the open journal without a record: for a restore that ended before it changed anything."""
        remove_file(self.path)

    def _numbered(self) -> list[tuple[int, Path]]:
        """All records, consumed ones too, by their number."""
        found: list[tuple[int, Path]] = []
        for path in self._records.glob("*-*"):
            number = path.name.partition("-")[0]
            if number.isdecimal() and path.name.endswith((_RECORD_SUFFIX, _CONSUMED_SUFFIX)):
                found.append((int(number), path))
        return sorted(found)

    def records(self) -> list[RestoreRecord]:
        """The restores that ended and have not been undone, the last one first.

        Raises:
            IntegrityFailed: one is damaged.
        """
        return [
            RestoreRecord(path, decode(read_small(path, _LARGEST_BYTES), path))
            for _, path in reversed(self._numbered())
            if path.name.endswith(_RECORD_SUFFIX)
        ]

    def consume(self, record: RestoreRecord) -> None:
        """The restore has been undone: its record is kept for its number, and `records` no longer gives it."""
        rename_durably(record.path, record.path.with_name(record.path.name[: -len(_RECORD_SUFFIX)] + _CONSUMED_SUFFIX))

    def forget(self, record: RestoreRecord) -> None:
        """Delete a record, when its safety backup has expired and there is nothing left to undo it with."""
        remove_file(record.path)

    def protected_ids(self) -> frozenset[BackupId]:
        """The backups that must not be pruned: named by the open journal, or all that is left of a NOT RESTORED target.

        Raises:
            IntegrityFailed: a journal or record is damaged; then nothing may be pruned.
        """
        left = self.read()
        kept: set[BackupId | None] = set()
        if left is not None:
            kept |= {left.backup_id, left.safety_id, *(target.displaced_id for target in left.targets)}
        for record in self.records():
            if record.journal.needs_safety_backup:
                kept |= {record.journal.safety_id, *(target.displaced_id for target in record.journal.targets)}
        return frozenset(name for name in kept if name is not None)
