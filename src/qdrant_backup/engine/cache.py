"""Where opened snapshots are kept: a bounded directory of unpacked archives, found again by what the archive holds.

ROOT/<key>/            an unpacked archive, complete since it has this name; `facts.json` says what it is
ROOT/<key>.2/          another copy: the engine writes into what it opens, so each process has one for itself
ROOT/<key>.new/        one that is being unpacked
ROOT/<key>.lock        held by whoever uses, makes or removes that copy; ends with its process

The backup that an archive came from is only read. Nothing here is fsynced where the system names its boots: after a power
cut a file may be there without what was written into it, so a copy that an earlier boot unpacked is unpacked again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup.engine.opening import shard_directories, unpack_archive
from qdrant_backup.engine.scratch import is_private
from qdrant_backup.errors import InsufficientSpace, IntegrityFailed, NotWritable
from qdrant_backup.hashing import HashBeside
from qdrant_backup.model import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qdrant_backup.archive.report import ArchiveReport
    from qdrant_backup.model import Progress

try:
    import fcntl
except ImportError:  # Windows: a lock is a file that must not exist, and one that a killed process left costs a copy.
    fcntl = None

__all__ = ["ArchiveSource", "Cache", "Entry", "Facts", "Place"]

_LOCK = ".lock"
_NEW = ".new"
_FACTS = "facts.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SPARE_BYTES = 64 << 20
_BLOCK = 512


@dataclasses.dataclass(frozen=True)
class ArchiveSource:
    """A snapshot that can be opened.

    Attributes:
        name: what to call it in messages.
        key: plain letters and digits that change whenever its bytes do.
        size_bytes: the archive's size.
        sha256: what its bytes must be; empty where nobody knows.
        blocks: its bytes, from the start at every call.
    """

    name: str
    key: str
    size_bytes: int
    sha256: str
    blocks: Callable[[], Iterator[bytes]]


class Facts(msgspec.Struct, frozen=True):
    """What an unpacked archive is.

    Attributes:
        archive_bytes: the archive's size.
        apparent_bytes: the sizes of its files, holes included: what mapping them all takes.
        shards: the directories the engine can open, below the entry's `collection`; `.` is that directory itself.
        config: the collection's configuration as its archive has it.
        schema: payload field to its index's kind or parameters, likewise.
        keyed: whether the collection spreads its points over shards by keys of the user's.
        boot: under which boot of the system it was unpacked; empty where the system names none, and it was fsynced.
    """

    archive_bytes: int
    apparent_bytes: int
    shards: list[str]
    config: dict[str, Any]
    schema: dict[str, Any]
    keyed: bool
    boot: str = ""


@dataclasses.dataclass(frozen=True)
class _Claim:
    """A lock on a copy. `descriptor` holds it, and a child process that inherits it goes on holding it."""

    path: Path
    descriptor: int

    def end(self) -> None:
        if fcntl is None:
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a copy of a snapshot is or will be; it belongs to this process until `release`.

    Attributes:
        path: the copy's directory.
        source: what it comes from.
    """

    path: Path
    source: ArchiveSource
    _claim: _Claim

    @property
    def lock_descriptor(self) -> int:
        """For a child process that shall hold the lock as long as it lives."""
        return self._claim.descriptor

    def release(self) -> None:
        """Let others have it."""
        self._claim.end()


@dataclasses.dataclass(frozen=True)
class Entry:
    """A copy of an opened snapshot.

    Attributes:
        path: its directory; files beside `collection` are for what is computed from it and kept.
        facts: what it is.
        fresh: whether it was unpacked just now.
    """

    path: Path
    facts: Facts
    fresh: bool

    @property
    def collection(self) -> Path:
        """The unpacked archive."""
        return self.path / "collection"


def _claimed(path: Path) -> _Claim | None:
    """The lock of a copy; None while somebody else has it."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    if fcntl is None:
        try:
            return _Claim(path, os.open(path, flags | os.O_EXCL, 0o600))
        except FileExistsError:
            return None
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return _Claim(path, descriptor)


def _stored_bytes(directory: Path) -> int:
    total = 0
    for parent, _, files in os.walk(directory):
        for name in files:
            status = Path(parent, name).lstat()
            total += getattr(status, "st_blocks", -(-status.st_size // _BLOCK)) * _BLOCK
    return total


def _checked(source: ArchiveSource, progress: Progress) -> Iterator[bytes]:
    """The archive's bytes; raises IntegrityFailed at their end when they are not what they must be."""
    size_bytes = 0
    with contextlib.closing(HashBeside()) as hasher:
        for block in source.blocks():
            hasher.update(block)
            size_bytes += len(block)
            progress.advance(len(block))
            yield block
        sha256 = hasher.checksum()
    if size_bytes != source.size_bytes:
        raise IntegrityFailed(
            f"{source.name} is damaged", why=f"it has {size_bytes} bytes and must have {source.size_bytes}"
        )
    if source.sha256 and sha256 != source.sha256:
        raise IntegrityFailed(f"{source.name} is damaged", why=f"its SHA-256 is {sha256} and must be {source.sha256}")


def _this_boot() -> str:
    """The name of the system's present boot, that no other has (random(4)); empty where the system gives none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _fsync_files(directory: Path) -> None:
    for parent, _, files in os.walk(directory):
        for name in files:
            with Path(parent, name).open("r+b") as file:
                os.fsync(file.fileno())


def _facts(report: ArchiveReport, directory: Path, boot: str) -> Facts:
    if report.config is None:
        raise IntegrityFailed("The snapshot is damaged", why="it has no config.json, so it is no collection's")
    config: dict[str, Any] = {key: value for key, value in report.config.items() if key != "uuid"}
    return Facts(
        report.size_bytes,
        report.logical_bytes,
        [str(shard.relative_to(directory)) for shard in shard_directories(directory)],
        config,
        dict(report.payload_schema or {}),
        bool(report.shard_keys),
        boot,
    )


class Cache:
    """A directory of opened snapshots.

    Args:
        root: the directory, made where missing, with mode 0700.
        most_bytes: how much of the disk it may take. Copies that are in use are never removed.
    """

    def __init__(self, root: Path, most_bytes: int) -> None:
        self.root = root.absolute()
        self._most_bytes = most_bytes

    def place(self, source: ArchiveSource) -> Place:
        """A place for a copy of that snapshot, for this process alone; one with a copy, where nobody else has it.

        Raises:
            InsufficientSpace, NotWritable: the cache cannot be written.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._free_place(source)
        except OSError as error:
            raise self._unusable(error) from error

    def entry(self, place: Place, progress: Progress) -> Entry:
        """The copy at that place: the one that is there, or unpacked now.

        Raises:
            IntegrityFailed: the archive is damaged or hostile, or not the one it must be.
            InsufficientSpace: the disk or the cache has no room for it.
            NotWritable: the cache cannot be written.
        """
        path = place.path
        try:
            kept = self._kept(path)
            facts = kept or self._made(path, place.source, progress)
            os.utime(path)
        except OSError as error:
            raise self._unusable(error) from error
        return Entry(path, facts, fresh=kept is None)

    def discard(self, place: Place) -> None:
        """Remove a copy that is of no use."""
        shutil.rmtree(place.path, ignore_errors=True)

    def _free_place(self, source: ArchiveSource) -> Place:
        for number in itertools.count(1):
            path = self.root / (source.key if number == 1 else f"{source.key}.{number}")
            claim = _claimed(path.with_name(path.name + _LOCK))
            if claim is not None:
                return Place(path, source, claim)
        raise AssertionError  # pragma: no cover - `count` has no end

    def _unusable(self, error: OSError) -> NotWritable | InsufficientSpace:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return InsufficientSpace(
                f"The backup cannot be opened in {self.root}",
                why=str(error),
                advice="Free up space, or name another directory with QDRANT_BACKUP_CACHE_DIR.",
            )
        return NotWritable(
            f"The cache {self.root} cannot be used",
            why=str(error),
            advice="Name another directory with QDRANT_BACKUP_CACHE_DIR.",
        )

    def _kept(self, path: Path) -> Facts | None:
        """What the copy there is; None where there is none, or one of which a power cut may have taken something."""
        try:
            facts = msgspec.json.decode((path / _FACTS).read_bytes(), type=Facts)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return facts if facts.boot == _this_boot() else None

    def _made(self, path: Path, source: ArchiveSource, progress: Progress) -> Facts:
        new = path.with_name(path.name + _NEW)
        for left in (path, new):
            shutil.rmtree(left, ignore_errors=True)
        self._make_room(source, path.name)
        new.mkdir(mode=0o700)
        try:
            collection = new / "collection"
            collection.mkdir(mode=0o700)
            progress.begin(f"Opening {source.name}", source.size_bytes)
            try:
                report = unpack_archive(_checked(source, progress), collection)
            finally:
                progress.end()
            facts = _facts(report, collection, _this_boot())
            (new / _FACTS).write_bytes(msgspec.json.encode(facts))
            if not facts.boot:
                _fsync_files(new)
            new.rename(path)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return facts

    def _make_room(self, source: ArchiveSource, own: str) -> None:
        """Remove the copies that were used longest ago, until there is room for one more."""
        others = [path for path in self.root.iterdir() if path.is_dir() and path.name != own and not is_private(path)]
        sizes = {path: _stored_bytes(path) for path in others}
        total = sum(sizes.values())
        for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
            if path.name.endswith(_NEW) or self._lacks(source, total):
                total -= sizes[path] if self._evict(path) else 0
        if lack := self._lacks(source, total):
            raise InsufficientSpace(
                f"{source.name} cannot be opened",
                why=lack,
                advice="Raise QDRANT_BACKUP_CACHE_BYTES, or name a larger disk's directory with QDRANT_BACKUP_CACHE_DIR.",
            )

    def _lacks(self, source: ArchiveSource, total_bytes: int) -> str:
        """What stands against unpacking it, in words; empty when nothing does."""
        needed = human_size(source.size_bytes)
        if total_bytes + source.size_bytes > self._most_bytes:
            limit, used = human_size(self._most_bytes), human_size(total_bytes)
            return f"it takes {needed}, and the cache {self.root} is limited to {limit}, of which {used} is in use"
        free = shutil.disk_usage(self.root).free
        if free < source.size_bytes + _SPARE_BYTES:
            return f"it takes {needed}, and the disk of {self.root} has {human_size(free)} free"
        return ""

    def _evict(self, path: Path) -> bool:
        claim = _claimed(path.with_name(path.name.removesuffix(_NEW) + _LOCK))
        if claim is None:
            return False
        # Renamed first, so that what a killed process leaves half removed is never taken for complete.
        doomed = path if path.name.endswith(_NEW) else path.with_name(path.name + _NEW)
        try:
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        finally:
            claim.end()
        return True
