"""A backup while it is being written: invisible until it is whole, and recognisable when its writer has died.

The order is the promise. Every file is durable before the manifest exists; the manifest and `SHA256SUMS` are durable
before the directory has its final name; the final name is durable before anybody is told. A power cut between any two
steps leaves the old set of backups or the new one.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from qdrant_backup.errors import NotWritable, OperationFailed, QdrantBackupError
from qdrant_backup.layout import CHECKSUMS, MANIFEST, backup_name, partial_name, safe_relative_path
from qdrant_backup.manifest import LONGEST_MANIFEST, FileEntry, encode
from qdrant_backup.model import Checksum
from qdrant_backup.storage.files import (
    PRIVATE_FILE,
    DurableFile,
    fsync_descriptor,
    fsync_directory,
    make_private_directory,
    writing,
)
from qdrant_backup.storage.lock import open_lock_file, take_descriptor_lock
from qdrant_backup.storage.reading import READ_SIZE, open_for_reading, sha256_of
from qdrant_backup.storage.stored import StoredBackup

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from qdrant_backup.manifest import Manifest
    from qdrant_backup.model import BackupId

__all__ = ["PartialBackup", "owner_is_alive", "remove_tree"]

OWNER = ".owner"
"""A file in the partial directory that its writer keeps locked; whoever can lock it knows that the writer is dead."""


class PartialBackup:
    """A backup that is being written. `BackupDirectory.begin` makes one; leave it by `with`, which discards the unpublished.

    Attributes:
        backup_id: the id it will be published under.
        path: where it lies until then.
        is_safety: whether it will be a safety backup.
    """

    def __init__(self, root: Path, backup_id: BackupId, *, is_safety: bool) -> None:
        self.backup_id = backup_id
        self.is_safety = is_safety
        self.path = root / partial_name(backup_id)
        self.final_path = root / backup_name(backup_id, safety=is_safety)
        self._files: dict[str, DurableFile | FileEntry] = {}
        self._owner = -1

    def claim(self) -> bool:
        """Create the directory and mark it as ours; False when it is already there.

        Raises:
            NotWritable, InsufficientSpace: it cannot be created.
        """
        if not make_private_directory(self.path):
            return False
        owner = self.path / OWNER
        with writing(owner):
            self._owner = open_lock_file(owner)
            take_descriptor_lock(self._owner)
        fsync_directory(self.path.parent)
        return True

    def create(self, relative: str) -> DurableFile:
        """A new file of the backup, `relative` with slashes as in `layout.py`. Its directories are made as needed.

        The directory of the backup itself is never made again: when it is gone, so is the disk it was on.

        Raises:
            NotWritable: the file exists (see `drop`), or cannot be created.
            InsufficientSpace: no room.
        """
        path = self._place(relative)
        file = DurableFile(path)
        self._files[relative] = file
        return file

    def write(self, relative: str, data: bytes) -> FileEntry:
        """A whole small file of the backup; raises as `create` does."""
        with self.create(relative) as file:
            file.write(data)
        return FileEntry(path=relative, size_bytes=file.size_bytes, sha256=file.sha256)

    def place(self, relative: str) -> Path:
        """The absolute path for a file that another program will write (its directories are made); then `adopt` it."""
        return self._place(relative)

    def adopt(self, relative: str) -> FileEntry:
        """Take in a file that another program wrote at `place(relative)`: make it private and durable, and hash it.

        Raises:
            IntegrityFailed: it is missing, or no regular file.
            NotWritable, InsufficientSpace: it cannot be made durable, or read back.
        """
        path = self.path / safe_relative_path(relative)
        with writing(path), os.fdopen(open_for_reading(path), "rb", buffering=0) as file:
            path.chmod(PRIVATE_FILE)
            fsync_descriptor(file.fileno())
            size_bytes, sha256 = sha256_of(iter(lambda: file.read(READ_SIZE), b""))
        entry = FileEntry(path=relative, size_bytes=size_bytes, sha256=sha256)
        self._files[relative] = entry
        return entry

    def drop(self, relative: str) -> None:
        """Remove a file again, finished or not: another method will write it, or its collection vanished."""
        file = self._files.pop(relative, None)
        if isinstance(file, DurableFile):
            file.abandon()
        path = self.path / safe_relative_path(relative)
        with writing(path):
            path.unlink(missing_ok=True)

    @property
    def files(self) -> list[FileEntry]:
        """What has been written so far, by path; files that are still open have the size they have now."""
        return [
            FileEntry(path=path, size_bytes=file.size_bytes, sha256=file.sha256)
            if isinstance(file, DurableFile)
            else file
            for path, file in sorted(self._files.items())
        ]

    def publish(self, manifest: Manifest) -> StoredBackup:
        """Make it a backup: from when this returns, it is listed, whole, and survives a power cut.

        Args:
            manifest: all of it but `files`, `backup_id` and `kind`, which are filled in here.

        Raises:
            ValueError: a file of it has not been closed.
            NotWritable: a step failed, or a backup of that name has appeared; nothing was published. Only where the last
                step failed (the parent's fsync) and the name could not be taken back either, the backup is there and whole.
            InsufficientSpace: no room; nothing was published.
            OperationFailed: its manifest would be larger than anybody reads; nothing was published.
        """
        if any(isinstance(file, DurableFile) and not file.closed for file in self._files.values()):
            msg = "a file of the backup is still open"
            raise ValueError(msg)
        whole = msgspec.structs.replace(
            manifest, files=self.files, backup_id=self.backup_id, kind="safety" if self.is_safety else manifest.kind
        )
        data = encode(whole)
        if len(data) > LONGEST_MANIFEST:
            raise OperationFailed(
                "The backup holds too many files for one manifest",
                why=f"it would have {len(data)} bytes, and more than {LONGEST_MANIFEST} are not read again",
                advice="Leave out --include-logs, or back up fewer collections at once with --collection.",
            )
        self._fsync_directories()
        entry = self.write(MANIFEST, data)
        lines = [f"{file.sha256}  {file.path}\n" for file in [entry, *whole.files]]
        self.write(CHECKSUMS, "".join(lines).encode())
        self._disown()
        fsync_directory(self.path)
        self._rename()
        return StoredBackup(self.final_path, self.backup_id, whole, Checksum(entry.sha256), self.is_safety)

    def _rename(self) -> None:
        with writing(self.final_path):
            if os.path.lexists(self.final_path):
                raise NotWritable(f"{self.final_path} cannot be published", why="something of that name has appeared")
            self.path.rename(self.final_path)
        try:
            fsync_directory(self.final_path.parent)
        except QdrantBackupError:
            # Who is told that it failed must not find it listed; and a power cut might take it later.
            with contextlib.suppress(OSError):
                self.final_path.rename(self.path)
            raise

    def _fsync_directories(self) -> None:
        with writing(self.path):
            directories = [directory for directory, _, _ in os.walk(self.path, topdown=False)]
        for directory in directories:
            fsync_directory(self.path.__class__(directory))

    def _place(self, relative: str) -> Path:
        path = self.path
        *directories, name = safe_relative_path(relative).split("/")
        for directory in directories:
            path /= directory
            make_private_directory(path)
        return path / name

    def _disown(self) -> None:
        self._let_go()
        path = self.path / OWNER
        with writing(path):
            path.unlink(missing_ok=True)

    def _let_go(self) -> None:
        owner, self._owner = self._owner, -1
        if owner >= 0:
            with writing(self.path / OWNER):
                os.close(owner)

    def discard(self) -> None:
        """Throw it away; nothing happens when it has been published or is gone.

        Raises:
            NotWritable: something of it is left, and named; the next run removes it.
        """
        for file in self._files.values():
            if isinstance(file, DurableFile):
                with contextlib.suppress(QdrantBackupError):  # Its bytes are not wanted any more.
                    file.abandon()
        self._let_go()
        remove_tree(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.discard()
            return
        with contextlib.suppress(QdrantBackupError):  # The error under way says more; the next run sweeps what is left.
            self.discard()


def owner_is_alive(partial: Path) -> bool:
    """Whether the writer of a partial directory still runs; decided by its lock, whatever host or container it is in."""
    try:
        descriptor = os.open(partial / OWNER, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        return not take_descriptor_lock(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Delete a directory with all that is in it, following no link; a link or a file of that name is deleted itself.

    Raises:
        NotWritable: something is left.
    """
    with writing(path):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            import shutil

            shutil.rmtree(path)
