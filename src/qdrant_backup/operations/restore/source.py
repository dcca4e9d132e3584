"""A backup as the source of a restore: found, verified byte by byte, its archives walked, its content known or not."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup.archive.walk import ArchiveWalker
from qdrant_backup.digest import DigestReader, compare
from qdrant_backup.errors import CollectionMissing, ContentUnreadable, IntegrityFailed
from qdrant_backup.model import Checksum, CollectionName
from qdrant_backup.operations.events import ManifestChecked, SnapshotChecked
from qdrant_backup.operations.selection import in_order
from qdrant_backup.storage.verify import check_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qdrant_backup.archive.report import ArchiveReport
    from qdrant_backup.manifest import CollectionEntry
    from qdrant_backup.model import Progress
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.stored import StoredBackup

__all__ = [
    "Archive",
    "Source",
    "differing_points",
    "narrowed",
    "open_source",
    "source_of",
    "stored_archive",
]

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Archive:
    """One collection's archive in a backup.

    Attributes:
        sha256: of the archive; the server is given it with the upload.
        content: the hash of its digest; empty when the engine cannot judge it, and `unverified` says why.
        config: raw, from the manifest, or from the archive itself where the original scripts wrote the backup.
        payload_schema: likewise, in either of the forms that `differences.index_definition` reads.
    """

    backup: StoredBackup
    entry: CollectionEntry
    sha256: Checksum
    content: str
    points: int | None
    unverified: str
    config: Mapping[str, Any]
    payload_schema: Mapping[str, Any]

    @property
    def name(self) -> CollectionName:
        """The collection's name in the backup."""
        return CollectionName(self.entry.name)

    @property
    def size_bytes(self) -> int:
        """The archive's size."""
        return self.entry.size_bytes

    @property
    def records(self) -> int:
        """Points in it, as far as anybody counted."""
        return self.entry.records if self.points is None else self.points

    def chunks(self, progress: Progress) -> Callable[[], Iterator[bytes]]:
        """Gives the archive's bytes from the start, each time it is called, and counts them."""

        def read() -> Iterator[bytes]:
            for block in self.backup.blocks(self.entry.snapshot):
                yield block
                progress.advance(len(block))

        return read


@dataclasses.dataclass(frozen=True)
class Source:
    """A backup that has passed: every byte it says, every archive whole."""

    backup: StoredBackup
    archives: Mapping[CollectionName, Archive]


def _selected(backup: StoredBackup, names: Sequence[str]) -> tuple[CollectionName, ...]:
    held = backup.manifest.collections
    for name in names:
        if name not in held:
            raise CollectionMissing(
                f"collection {name!r} is not in the backup {backup.path}",
                why=f"it holds {', '.join(in_order(CollectionName(each) for each in held)) or 'none at all'}",
                advice="Check the spelling: names are case-sensitive. `qdrant-backup show BACKUP` lists them.",
            )
    return in_order(CollectionName(name) for name in (names or held))


def narrowed(backup: StoredBackup, names: Sequence[str]) -> StoredBackup:
    """The backup without the collections that nobody wants: damage in those is no reason to refuse the others."""
    manifest = backup.manifest
    unwanted: set[str] = set()
    for name, entry in manifest.collections.items():
        if name not in names:
            unwanted |= {entry.snapshot, entry.digest_file}
    wanted = {name: entry for name, entry in manifest.collections.items() if name in names}
    kept = {entry.snapshot for entry in wanted.values()} | {entry.digest_file for entry in wanted.values()}
    files = [file for file in manifest.files if file.path in kept or file.path not in unwanted]
    return dataclasses.replace(backup, manifest=msgspec.structs.replace(manifest, files=files, collections=wanted))


def _require_files(backup: StoredBackup, progress: Progress) -> None:
    damage = [finding for finding in check_files(backup, progress) if finding.is_damage]
    if not damage:
        return
    more = f"; and {len(damage) - _SHOWN} more" if len(damage) > _SHOWN else ""
    raise IntegrityFailed(
        f"The backup {backup.path} is damaged", why="; ".join(str(finding) for finding in damage[:_SHOWN]) + more
    )


def open_source(ports: Ports, reference: str, names: Sequence[str] = ()) -> Source:
    """Find a backup and verify all of it that will be used; nothing is sent anywhere.

    Args:
        ports: what to act through.
        reference: as `BackupDirectory.find` takes it.
        names: collections in it, exactly; all of them when empty.

    Raises:
        BackupNotFound: as `BackupDirectory.find`, or it was deleted meanwhile.
        BackupInvalid, UsageError: as `BackupDirectory.find`.
        CollectionMissing: one of `names` is not in it.
        IntegrityFailed: a file is missing, has other bytes, is a link, or an archive is damaged or hostile.
        Incompatible: a newer version of this tool wrote it.
    """
    backup = ports.directory.find(reference)
    try:
        return source_of(ports, backup, names)
    except IntegrityFailed:
        backup.require_still_there()
        raise


def source_of(ports: Ports, backup: StoredBackup, names: Sequence[str] = (), *, aloud: bool = True) -> Source:
    """As `open_source`, for a backup in hand; not `aloud` where it is our own safety copy."""
    selected = _selected(backup, names)
    manifest = backup.manifest
    if aloud:
        ports.tell(ManifestChecked(str(backup.path), manifest.backup_date, manifest.ai_memory_version))
    _require_files(narrowed(backup, selected), ports.progress)
    archives: dict[CollectionName, Archive] = {}
    for name in selected:
        archives[name] = _inspect(ports, backup, manifest.collections[name])
        if aloud:
            entry = manifest.collections[name]
            ports.tell(SnapshotChecked(entry.snapshot_file, entry.size_bytes))
    return Source(backup, archives)


def _inspect(ports: Ports, backup: StoredBackup, entry: CollectionEntry) -> Archive:
    report, sha256 = _walked(backup, entry)
    points, content, unverified = entry.points, entry.content, entry.unverified
    if not content:
        points, content, unverified = _judged(ports, backup, entry)
    by_original = backup.manifest.by_original_scripts
    return Archive(
        backup=backup,
        entry=entry,
        sha256=sha256,
        content=content,
        points=points,
        unverified=unverified,
        config=report.config or {} if by_original or not entry.config else entry.config,
        payload_schema=report.payload_schema or {} if by_original or not entry.config else entry.payload_schema,
    )


def stored_archive(backup: StoredBackup, name: CollectionName) -> Archive:
    """A collection of a backup that this run wrote and read back itself: nothing is read again."""
    entry = backup.manifest.collections[name]
    return Archive(
        backup=backup,
        entry=entry,
        sha256=Checksum(entry.sha256),
        content=entry.content,
        points=entry.points,
        unverified=entry.unverified,
        config=entry.config,
        payload_schema=entry.payload_schema,
    )


def _walked(backup: StoredBackup, entry: CollectionEntry) -> tuple[ArchiveReport, Checksum]:
    name = f"{backup.path / entry.snapshot}"
    walker = ArchiveWalker(kind="collection", expected_shards=[shard.id for shard in entry.shards] or None, name=name)
    hasher = None if entry.sha256 else hashlib.sha256()
    size_bytes = 0
    for block in backup.blocks(entry.snapshot):
        walker.feed(block)
        size_bytes += len(block)
        if hasher is not None:
            hasher.update(block)
    report = walker.finish()
    if size_bytes != entry.size_bytes:
        raise IntegrityFailed(f"{name} is damaged", why=f"it has {size_bytes} bytes, not {entry.size_bytes}")
    return report, Checksum(entry.sha256 if hasher is None else hasher.hexdigest())


def _judged(ports: Ports, backup: StoredBackup, entry: CollectionEntry) -> tuple[int | None, str, str]:
    """What the engine finds in an archive nobody has digested: points, content, and why not when it cannot say."""
    with tempfile.TemporaryDirectory(prefix="qdrant-backup-") as scratch:
        try:
            digested = ports.engine.digest_file(backup.path / entry.snapshot, Path(scratch) / "digest")
        except ContentUnreadable as error:
            return None, "", error.why or error.what
    return digested.summary.points, digested.summary.content, ""


def differing_points(archive: Archive, digest: Path) -> int | None:
    """How many points of a digest differ from the archive's; None when the backup has no digest to compare with."""
    if not archive.entry.digest_file or not archive.content:
        return None
    with contextlib.ExitStack() as stack:
        mine = DigestReader(stack.enter_context(archive.backup.open(archive.entry.digest_file)))
        theirs = DigestReader(stack.enter_context(digest.open("rb")))
        if mine.summary.vector_names != theirs.summary.vector_names:
            return max(mine.summary.points, theirs.summary.points)
        return sum(1 for _ in compare(mine.records(), theirs.records()))
