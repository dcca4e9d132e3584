"""The catalogue: what is known about backups besides what they hold. How far each was verified, and which are pinned.

It lies in `.catalogue.json`, beside the backups and not in them, since those never change. Each entry belongs to a
backup id *and* its manifest's SHA-256, so that a backup which was replaced does not inherit what the old one proved.
Losing the file loses no backup; levels can be proven again, pins have to be set again.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup.layout import CATALOGUE
from qdrant_backup.model import BackupId, Checksum
from qdrant_backup.storage.documents import read_document, write_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qdrant_backup.storage.directory import StoredBackup

__all__ = ["Catalogue", "CatalogueEntry", "CatalogueFile", "Level", "Pin", "Proof"]

CATALOGUE_FORMAT = 1


class Level(str, enum.Enum):
    """How much a verification proves, each including those before it (design 7)."""

    QUICK = "quick"
    FILES = "files"
    ARCHIVE = "archive"
    CONTENT = "content"
    DRILL = "drill"

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(Level).index(self)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A verification that was made: when (UTC), and whether the backup passed.

    Attributes:
        note: what failed, or what a proof leaves open.
        server: for a drill, the server it restored into, without secrets; empty where the embedded engine was enough.
    """

    at: datetime
    passed: bool
    note: str = ""
    server: str = ""


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that retention leaves alone, since when, and why."""

    at: datetime
    reason: str = ""


class CatalogueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one backup.

    Attributes:
        proofs: the last check of each level.
        restored: the last drill that restored it into a server; a later one in the embedded engine leaves it standing.
        extra: other rooms' notes.
    """

    backup_id: BackupId
    manifest_sha256: Checksum
    proofs: dict[Level, Proof] = {}
    pin: Pin | None = None
    extra: dict[str, Any] = {}
    restored: Proof | None = None

    @property
    def level(self) -> Level | None:
        """The highest level it passed, unless a check of that level or a lower one failed since; None for none."""
        passed = [level for level, proof in self.proofs.items() if proof.passed and not self._refuted(level, proof)]
        return max(passed, key=lambda level: level.rank, default=None)

    @property
    def restorable(self) -> Proof | None:
        """The drill that proves it: the last into a server before one in the embedded engine. None when nothing does."""
        for proof in (self.restored, self.proofs.get(Level.DRILL)):
            if proof is not None and proof.passed and not self._refuted(Level.DRILL, proof):
                return proof
        return None

    def _refuted(self, level: Level, proof: Proof) -> bool:
        return any(
            not other.passed and other.at >= proof.at and below.rank <= level.rank
            for below, other in self.proofs.items()
        )


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """All entries; a value. Change it with the methods here and keep it with `CatalogueFile.write`."""

    entries: tuple[CatalogueEntry, ...] = ()
    format: int = CATALOGUE_FORMAT

    def entry(self, backup: StoredBackup) -> CatalogueEntry:
        """What is known about exactly this backup; an empty entry when that is nothing."""
        for entry in self.entries:
            if (entry.backup_id, entry.manifest_sha256) == (backup.backup_id, backup.manifest_sha256):
                return entry
        return CatalogueEntry(backup_id=backup.backup_id, manifest_sha256=backup.manifest_sha256)

    def with_entry(self, entry: CatalogueEntry) -> Catalogue:
        """This catalogue with one backup's entry set; an entry of another backup under the same id goes."""
        others = tuple(other for other in self.entries if other.backup_id != entry.backup_id)
        return msgspec.structs.replace(self, entries=(*others, entry))

    def with_proof(self, backup: StoredBackup, level: Level, proof: Proof) -> Catalogue:
        """This catalogue with the outcome of a verification; a newer one of the same level replaces the older."""
        entry = self.entry(backup)
        restored = proof if proof.server else entry.restored
        return self.with_entry(msgspec.structs.replace(entry, proofs={**entry.proofs, level: proof}, restored=restored))

    def with_pin(self, backup: StoredBackup, pin: Pin | None) -> Catalogue:
        """This catalogue with the backup pinned, or no longer pinned."""
        return self.with_entry(msgspec.structs.replace(self.entry(backup), pin=pin))

    def only(self, kept: Iterable[BackupId]) -> Catalogue:
        """This catalogue without the entries of backups that are gone."""
        names = frozenset(kept)
        return msgspec.structs.replace(self, entries=tuple(entry for entry in self.entries if entry.backup_id in names))


class CatalogueFile:
    """The catalogue of a backup directory on disk. Reading needs no lock; read, change and write under it.

    Args:
        root: the backup directory.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / CATALOGUE

    def read(self) -> Catalogue:
        """The catalogue; an empty one when there is no file.

        Raises:
            IntegrityFailed: the file is damaged. Whoever only lists may go on without it and say so; whoever deletes
                backups must not, since pins stand in it.
            Incompatible: a newer version of this tool wrote it.
            NotWritable: it cannot be read.
        """
        return read_document(
            self.path,
            Catalogue,
            CATALOGUE_FORMAT,
            damaged=f"The catalogue {self.path} is damaged",
            advice="The backups themselves are not concerned. Move the file away, then verify backups again and pin "
            "again those that must stay.",
        )

    def write(self, catalogue: Catalogue) -> None:
        """Replace the catalogue in one step.

        Raises:
            NotWritable: it cannot be written; the old one stands.
            InsufficientSpace: no room; the old one stands.
        """
        write_document(self.path, catalogue)
