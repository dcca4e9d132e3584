"""The backup directory: which backups it holds, finding one, beginning one, deleting one, clearing away wrecks.

Only directories whose name is a backup's and whose manifest is valid are backups. All else begins with a dot, or is
not ours and left alone.
"""

from __future__ import annotations

import dataclasses
import os
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from qdrant_backup.errors import BackupNotFound, NotWritable, QdrantBackupError, RefusedForSafety, UsageError
from qdrant_backup.layout import (
    DRILLS,
    INTENTS,
    UNDO,
    deleting_name,
    id_moment,
    is_backup_name,
    partial_name,
    safety_name,
    unused_backup_id,
)
from qdrant_backup.model import BackupId
from qdrant_backup.storage.files import TEMPORARY_SUFFIX, fsync_directory, make_private_directory, rename_durably
from qdrant_backup.storage.partial import PartialBackup, owner_is_alive, remove_tree
from qdrant_backup.storage.reading import reading
from qdrant_backup.storage.stored import StoredBackup, load
from qdrant_backup.storage.verify import check_quick

if TYPE_CHECKING:
    from qdrant_backup.storage.lock import DirectoryLock

__all__ = ["BackupDirectory", "Invalid", "Listing", "Sweep"]

LATEST = "latest"
_LATEST = re.compile(rf"{LATEST}(?:~([0-9]{{1,9}}))?")
_LIKE_AN_ID = re.compile(r"[0-9]{4}-[0-9-]*(_|$)")
_MARK = BackupId("*")


def _id_in(name: str, pattern: str) -> BackupId | None:
    """The backup id in a directory's name of the form `pattern` (with `*` for the id); None for other names."""
    head, _, tail = pattern.partition(_MARK)
    inner = name.removeprefix(head).removesuffix(tail)
    return BackupId(inner) if name == f"{head}{inner}{tail}" and is_backup_name(inner) else None


@dataclasses.dataclass(frozen=True)
class Invalid:
    """A directory with a backup's name that cannot be restored from, and why."""

    path: Path
    error: QdrantBackupError


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a backup directory holds, newest first.

    Attributes:
        backups: those whose manifest is valid; `is_whole` says whether all their files are there.
        invalid: those without a valid manifest.
    """

    backups: tuple[StoredBackup, ...]
    invalid: tuple[Invalid, ...]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What clearing away did: the wrecks that are gone, and those that could not be removed, with the reason."""

    removed: tuple[Path, ...]
    left: tuple[Invalid, ...]


class BackupDirectory:
    """A directory of plain backups.

    Args:
        root: the directory; it need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def survey(self, *, safety: bool = False) -> Listing:
        """Everything here that has a backup's name, looked at quickly; needs no lock.

        Args:
            safety: the safety backups instead of the ordinary ones.

        Raises:
            NotWritable: the directory cannot be read. One that does not exist holds nothing.
        """
        pattern = safety_name(_MARK) if safety else _MARK
        backups: list[StoredBackup] = []
        invalid: list[Invalid] = []
        for name in self._names():
            path = self.root / name
            if _id_in(name, pattern) is None or path.is_symlink() or not path.is_dir():
                continue
            try:
                backups.append(_looked_at(load(path)))
            except QdrantBackupError as error:
                if path.exists():  # Deleted since the names were read: then it is neither a backup nor a wreck.
                    invalid.append(Invalid(path, error))
        backups.sort(key=lambda backup: backup.order, reverse=True)
        invalid.sort(key=lambda entry: entry.path.name, reverse=True)
        return Listing(tuple(backups), tuple(invalid))

    def entries(self, *, safety: bool = False) -> list[StoredBackup]:
        """The whole backups, newest first; raises as `survey` does."""
        return [backup for backup in self.survey(safety=safety).backups if backup.is_whole]

    def find(self, reference: str) -> StoredBackup:
        """The backup that the user means: `latest`, `latest~2`, an id, a unique prefix of one, or a path, here or anywhere.

        Its files have been looked at (`findings`); it need not be whole. `latest` is the newest whole one and never a
        safety backup, `latest~2` the second before it; a safety backup is named by its id or path. A prefix is looked
        for among ordinary ones only.

        Raises:
            BackupNotFound: nothing there has that name.
            BackupInvalid: something has, and it is no backup.
            UsageError: a prefix fits several.
            Incompatible, IntegrityFailed, NotWritable: as `stored.load`.
        """
        if back := _LATEST.fullmatch(reference):
            return self._latest(int(back[1] or 0))
        named = Path(reference)
        if len(named.parts) == 1 and os.sep not in reference and reference != os.curdir:
            found = self._by_id(reference) or self._by_prefix(reference)
            if found is not None:
                return _looked_at(load(found))
        if reference and named.exists():
            return _looked_at(load(named))
        where = "" if named.is_absolute() or len(named.parts) > 1 else f" in {self.root}"
        raise BackupNotFound(f"Backup {reference!r} was not found{where}", why="nothing of that name exists")

    def could_mean(self, reference: str) -> bool:
        """Whether a text looks like the name of a backup, be there one or not, rather than like any other text."""
        looks = _LATEST.fullmatch(reference) or _LIKE_AN_ID.match(reference) or os.sep in reference
        return bool(looks) or self._by_prefix(reference) is not None or (reference != "" and Path(reference).exists())

    def as_of(self, moment: datetime) -> StoredBackup:
        """The newest whole backup that was finished by then; never a safety backup.

        Args:
            moment: aware.

        Raises:
            BackupNotFound: there is none that old.
            NotWritable: the directory cannot be read.
        """
        ordinary = self._ordinary()
        for backup in ordinary:
            if backup.finished_at <= moment:
                return backup
        why = "it holds no complete backup"
        if ordinary:
            why = f"the oldest was finished at {ordinary[-1].finished_at:%Y-%m-%d %H:%M:%S} UTC"
        raise BackupNotFound(
            f"There is no backup in {self.root} from before {moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
            why=why,
        )

    def _ordinary(self) -> list[StoredBackup]:
        return [backup for backup in self.entries() if not backup.is_safety]

    def _latest(self, back: int) -> StoredBackup:
        ordinary = self._ordinary()
        if back < len(ordinary):
            return ordinary[back]
        if ordinary:
            raise BackupNotFound(
                f"There is no backup `{LATEST}~{back}` in {self.root}",
                why=f"it holds {len(ordinary)} complete ones, so the oldest is `{LATEST}~{len(ordinary) - 1}`",
            )
        raise BackupNotFound(
            f"There is no backup in {self.root}",
            why="`latest` means the newest complete one, and none is complete",
            advice="Make one with `qdrant-backup backup`, or name the backup directory with --output.",
        )

    def _by_id(self, reference: str) -> Path | None:
        name = reference.removeprefix(safety_name(BackupId("")))
        if not is_backup_name(name):
            return None
        candidates = [self.root / name, self.root / safety_name(BackupId(name))]
        return next((path for path in candidates if path.name.endswith(reference) and path.is_dir()), None)

    def _by_prefix(self, reference: str) -> Path | None:
        fitting = [name for name in self._names() if is_backup_name(name) and name.startswith(reference)]
        if not reference or not fitting:
            return None
        if len(fitting) > 1:
            raise UsageError(
                f"{reference!r} could mean {len(fitting)} backups",
                why=", ".join(sorted(fitting, reverse=True)[:5]),
                advice="Give more of the id, or `latest`.",
            )
        return self.root / fitting[0]

    def _names(self) -> list[str]:
        if not self.root.exists():
            return []
        if not self.root.is_dir():
            raise NotWritable(f"{self.root} is no backup directory", why="it is a file, not a directory")
        with reading(self.root):
            return os.listdir(self.root)  # noqa: PTH208 - only the names are needed, and there can be many

    def begin(self, wanted: BackupId, *, safety: bool = False) -> PartialBackup:
        """Begin a backup; needs the directory's lock.

        Args:
            wanted: `layout.backup_id_at(clock.now())`; the backup gets it with `-2`, `-3`, ... when the id is taken, be it
                by a backup that never finished.
            safety: whether it is what a restore is about to replace.

        Raises:
            ValueError: `wanted` is no backup id.
            NotWritable, InsufficientSpace: nothing can be created there.
        """
        named = id_moment(wanted)
        if named is None:
            msg = f"{wanted!r} is not a backup id"
            raise ValueError(msg)
        make_private_directory(self.root, parents=True)
        taken = self._taken()
        while True:
            backup_id = unused_backup_id(named[0], taken)
            partial = PartialBackup(self.root, backup_id, is_safety=safety)
            if partial.claim():
                return partial
            taken.add(backup_id)

    def _taken(self) -> set[str]:
        patterns = (_MARK, safety_name(_MARK), partial_name(_MARK), deleting_name(_MARK))
        ids = (_id_in(name, pattern) for name in self._names() for pattern in patterns)
        return {backup_id for backup_id in ids if backup_id is not None}

    def require_unfinished(self, backup_id: BackupId) -> None:
        """Go on only while the backup that is being written is there: where it is gone, the disk it was on is too.

        Raises:
            NotWritable: it is gone. What lies under an unmounted disk must not be written to in its place.
        """
        if not (self.root / partial_name(backup_id)).is_dir():
            raise NotWritable(
                f"{self.root} is no longer the directory that the backup was begun in",
                why="the disk was unmounted, or the directory was deleted or replaced",
                advice="Make sure that the disk is mounted, then run the command again.",
            )

    def remove(self, backup: StoredBackup, lock: DirectoryLock) -> None:
        """Delete a backup of this directory: it stops being one in a single step, then its files go.

        Raises:
            RefusedForSafety: it lies elsewhere.
            Locked: the lock was lost.
            NotWritable: it could not be deleted; when only some of its files are left, the next `sweep` takes them.
        """
        if backup.path.parent != self.root or backup.path.name not in {backup.backup_id, safety_name(backup.backup_id)}:
            raise RefusedForSafety(
                f"{backup.path} is not deleted",
                why=f"it does not lie in the backup directory {self.root}",
                advice="Delete it by hand if you are sure.",
            )
        doomed = self.root / deleting_name(backup.backup_id)
        lock.require(f"delete {backup.path}")
        remove_tree(doomed)
        rename_durably(backup.path, doomed)
        remove_tree(doomed)
        fsync_directory(self.root)

    def sweep(self, lock: DirectoryLock) -> Sweep:
        """Remove what killed runs left: partial backups whose writer is dead, half-deleted ones, temporary files.

        One that cannot be removed does not stop the others, and no run: it is invisible and only takes space.

        Raises:
            Locked: the lock was lost.
            NotWritable: the directory cannot be read.
        """
        removed: list[Path] = []
        left: list[Invalid] = []
        for path in self._wrecks():
            lock.require(f"remove {path}")
            try:
                remove_tree(path)
            except QdrantBackupError as error:
                left.append(Invalid(path, error))
            else:
                removed.append(path)
        if removed:
            fsync_directory(self.root)
        return Sweep(tuple(removed), tuple(left))

    def _wrecks(self) -> list[Path]:
        wrecks: list[Path] = []
        for name in sorted(self._names()):
            path = self.root / name
            unfinished = _id_in(name, partial_name(_MARK)) is not None and not owner_is_alive(path)
            deleted = _id_in(name, deleting_name(_MARK)) is not None
            temporary = name.startswith(".") and name.endswith(TEMPORARY_SUFFIX) and path.is_file()
            if unfinished or deleted or temporary:
                wrecks.append(path)
        for inner in (self.root / INTENTS, self.root / UNDO, self.root / DRILLS):
            wrecks += sorted(inner.glob(f".*{TEMPORARY_SUFFIX}"))
        return wrecks


def _looked_at(backup: StoredBackup) -> StoredBackup:
    return dataclasses.replace(backup, findings=tuple(check_quick(backup)))
