"""One published backup on disk, and what a look at it finds."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, BinaryIO

from qdrant_backup.errors import BackupInvalid, BackupNotFound, IntegrityFailed
from qdrant_backup.layout import CONFIG_DIRECTORY, MANIFEST, id_moment, is_backup_name, safe_relative_path, safety_name
from qdrant_backup.manifest import LONGEST_MANIFEST, decode
from qdrant_backup.model import BackupId, Checksum
from qdrant_backup.storage.reading import blocks_of, limited, open_below, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qdrant_backup.manifest import Manifest

__all__ = ["Finding", "FindingKind", "StoredBackup", "load"]

_SAFETY_PREFIX = safety_name(BackupId(""))
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EXPLAINED = {
    ".partial": "it is the rest of a backup that never finished, or is being written now",
    ".deleting": "it is the rest of a backup that was deleted",
}


class FindingKind(str, enum.Enum):
    """What is wrong with a file of a backup."""

    MISSING = "missing"
    SIZE = "size"
    SHA256 = "sha256"
    SYMLINK = "symlink"
    NOT_A_FILE = "not a file"
    UNREADABLE = "unreadable"
    EXTRA = "extra"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that differs from what the manifest says; `detail` is a sentence's worth."""

    path: str
    kind: FindingKind
    detail: str

    @property
    def is_damage(self) -> bool:
        """False for a file that somebody put there: nothing of the backup is wrong on its account."""
        return self.kind is not FindingKind.EXTRA

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}"


@dataclasses.dataclass(frozen=True)
class StoredBackup:
    """A backup with a valid manifest.

    Attributes:
        path: its directory, absolute.
        backup_id: its directory's name without the mark of a safety backup; for a backup that was moved under another
            name, the id in its manifest.
        manifest: what it says it holds.
        manifest_sha256: of `manifest.json` as it lies there.
        is_safety: whether a restore took it of what it was about to replace.
        findings: what a quick look at its files found; empty when all are there with their sizes.
    """

    path: Path
    backup_id: BackupId
    manifest: Manifest
    manifest_sha256: Checksum
    is_safety: bool
    findings: tuple[Finding, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every file is there with its size (level `quick`)."""
        return not any(finding.is_damage for finding in self.findings)

    @property
    def finished_at(self) -> datetime:
        """When it was finished, aware UTC; the second in its name where the manifest's date makes no sense."""
        text = self.manifest.finished
        try:
            moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
        except ValueError:
            named = id_moment(self.backup_id)
            return named[0] if named else _EPOCH
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)

    @property
    def order(self) -> tuple[datetime, datetime, int, str]:
        """Sorts backups by when they finished, then by id (`-10` after `-2`)."""
        begun, number = id_moment(self.backup_id) or (_EPOCH, 0)
        return self.finished_at, begun, number, self.backup_id

    @property
    def size_bytes(self) -> int:
        """What its files take, by the manifest; without the manifest itself."""
        if self.manifest.files:
            return sum(file.size_bytes for file in self.manifest.files)
        return sum(entry.size_bytes for entry in self.manifest.collections.values())

    def expected_files(self) -> dict[str, tuple[int | None, str]]:
        """Every file that must be there: its path, its size in bytes (None: unknown) and its SHA-256 (empty: unknown)."""
        expected: dict[str, tuple[int | None, str]] = {
            file.path: (file.size_bytes, file.sha256) for file in self.manifest.files
        }
        for entry in self.manifest.collections.values():
            expected.setdefault(entry.snapshot, (entry.size_bytes, entry.sha256))
        for name in self.manifest.config_files:
            expected.setdefault(f"{CONFIG_DIRECTORY}/{name}", (None, ""))
        return expected

    def require_still_there(self) -> None:
        """Raise `BackupNotFound` when it was deleted since it was found: files that are missing are no damage then."""
        if not self.path.is_dir():
            raise BackupNotFound(
                f"Backup {self.path} is gone", why="another run, such as `prune`, deleted it in the meantime"
            )

    def open(self, relative: str) -> BinaryIO:
        """A file of the backup for reading, unbuffered; no link is followed inside the backup.

        Raises:
            IntegrityFailed: it is missing, a link, no regular file, or its name climbs out of the backup.
            NotWritable: this user may not read it.
        """
        return os.fdopen(open_below(self.path, safe_relative_path(relative)), "rb", buffering=0)

    def blocks(self, relative: str) -> Iterator[bytes]:
        """A file's bytes in blocks of at most 1 MiB; raises as `open` does, and `IntegrityFailed` when the disk fails."""
        return blocks_of(open_below(self.path, safe_relative_path(relative)), self.path / relative)


def load(path: Path) -> StoredBackup:
    """The backup in a directory, its manifest checked and its files not yet looked at.

    Raises:
        BackupInvalid: there is no backup: a file, a directory without a valid manifest, or one that never finished.
        Incompatible: a newer version of this tool wrote it.
        IntegrityFailed: the manifest is a link, or names a path outside the backup.
        NotWritable: this user may not read it.
    """
    path = path.absolute()
    with reading(path):
        is_directory = path.is_dir()
    if not is_directory:
        raise BackupInvalid(f"{path} is not a backup", why="it is not a directory")
    if path.name.startswith(".") and path.suffix in _EXPLAINED:
        raise BackupInvalid(f"{path} is not a backup", why=_EXPLAINED[path.suffix])
    data = _manifest_bytes(path)
    manifest = decode(data, str(path / MANIFEST))
    is_safety = manifest.kind == "safety" or path.name.startswith(_SAFETY_PREFIX)
    return StoredBackup(path, _id_of(path, manifest), manifest, Checksum(hashlib.sha256(data).hexdigest()), is_safety)


def _manifest_bytes(path: Path) -> bytes:
    manifest = path / MANIFEST
    try:
        return limited(blocks_of(open_below(path, MANIFEST), manifest), manifest, LONGEST_MANIFEST)
    except IntegrityFailed as error:
        with reading(manifest):
            missing = not manifest.exists() and not manifest.is_symlink()
        if not missing:
            raise
        raise BackupInvalid(
            f"{path} is not a backup", why=f"it has no {MANIFEST}, which is written last: the backup never finished"
        ) from error


def _id_of(path: Path, manifest: Manifest) -> BackupId:
    name = path.name.removeprefix(_SAFETY_PREFIX)
    return BackupId(name if is_backup_name(name) or not manifest.backup_id else manifest.backup_id)
