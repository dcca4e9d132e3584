"""Does a backup on disk hold what its manifest says? Two looks at it: by size, and byte for byte."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from qdrant_backup.errors import QdrantBackupError
from qdrant_backup.layout import CHECKSUMS, MANIFEST
from qdrant_backup.model import NO_PROGRESS, Progress
from qdrant_backup.storage.reading import blocks_of, limited, open_below, reading, sha256_of
from qdrant_backup.storage.stored import Finding, FindingKind, StoredBackup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_files", "check_quick"]

_LARGEST_CHECKSUMS_BYTES = 64 << 20
_DIGITS = 64


def check_quick(backup: StoredBackup) -> list[Finding]:
    """Level `quick`: every file of the manifest is there, a regular file behind no link, with its size.

    Returns:
        What is wrong, in the manifest's order; empty when all is well.
    """
    known_directories: dict[str, Finding | None] = {}
    findings: list[Finding] = []
    for relative, (size_bytes, _) in backup.expected_files().items():
        found = _look(backup.path, relative, size_bytes, known_directories)
        if found is not None:
            findings.append(found)
    return findings


def check_files(backup: StoredBackup, progress: Progress = NO_PROGRESS) -> list[Finding]:
    """Level `files`: besides, every byte matches its SHA-256, the manifest its line in SHA256SUMS, and nothing else is there.

    A backup of the original scripts has no checksums; its files are read all the same, so that a disk which fails shows.
    Memory stays constant.

    Returns:
        What is wrong: the manifest's files first, then SHA256SUMS, then files that do not belong (`is_damage` is false
        for those).
    """
    findings = check_quick(backup)
    wrong = {finding.path for finding in findings}
    expected = backup.expected_files()
    progress.begin(f"verify {backup.backup_id}", sum(size or 0 for size, _ in expected.values()))
    try:
        for relative, (size_bytes, sha256) in expected.items():
            found = None if relative in wrong else _read(backup, relative, size_bytes, sha256, progress)
            if found is not None:
                findings.append(found)
    finally:
        progress.end()
    # A flipped bit must not make a backup of ours pass for one that never had checksums.
    if not backup.manifest.by_original_scripts or os.path.lexists(backup.path / CHECKSUMS):
        findings += _check_sums(backup)
        findings += _extra(backup, {*expected, MANIFEST, CHECKSUMS})
    return findings


def _look(root: Path, relative: str, size_bytes: int | None, directories: dict[str, Finding | None]) -> Finding | None:
    parent = relative.rpartition("/")[0]
    if parent not in directories:
        directories[parent] = _link_above(root, relative)
    above = directories[parent]
    if above is not None:
        return Finding(relative, above.kind, above.detail)
    try:
        status = os.lstat(f"{root}/{relative}")  # A `Path` for each file would cost `list` more than the look itself.
    except (FileNotFoundError, NotADirectoryError):
        return Finding(relative, FindingKind.MISSING, "it is missing")
    except OSError as error:
        return Finding(relative, FindingKind.UNREADABLE, f"it cannot be looked at: {error.strerror}")
    if stat.S_ISLNK(status.st_mode):
        return Finding(relative, FindingKind.SYMLINK, "it is a symbolic link; it was not followed")
    if not stat.S_ISREG(status.st_mode):
        return Finding(relative, FindingKind.NOT_A_FILE, "it is not a regular file")
    if size_bytes is not None and status.st_size != size_bytes:
        return _size_finding(relative, status.st_size, size_bytes)
    return None


def _size_finding(relative: str, found_bytes: int, expected_bytes: int) -> Finding:
    return Finding(
        relative, FindingKind.SIZE, f"it has {found_bytes} bytes where {expected_bytes} were written (cut or replaced)"
    )


def _link_above(root: Path, relative: str) -> Finding | None:
    here = root
    for part in relative.split("/")[:-1]:
        here /= part
        if here.is_symlink():
            return Finding(relative, FindingKind.SYMLINK, f"{here} is a symbolic link; it was not followed")
    return None


def _read(
    backup: StoredBackup, relative: str, size_bytes: int | None, sha256: str, progress: Progress
) -> Finding | None:
    try:
        size, found = sha256_of(_counted(backup.blocks(relative), progress))
    except QdrantBackupError as error:
        return Finding(relative, FindingKind.UNREADABLE, error.why or error.what)
    if size_bytes is not None and size != size_bytes:
        return _size_finding(relative, size, size_bytes)
    if sha256 and found != sha256:
        return Finding(relative, FindingKind.SHA256, f"its SHA-256 is {found} where {sha256} was written")
    return None


def _counted(blocks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for block in blocks:
        yield block
        progress.advance(len(block))


def _check_sums(backup: StoredBackup) -> list[Finding]:
    """SHA256SUMS must list the manifest as it lies there, and each file as the manifest does."""
    path = backup.path / CHECKSUMS
    try:
        text = limited(blocks_of(open_below(backup.path, CHECKSUMS), path), path, _LARGEST_CHECKSUMS_BYTES).decode()
    except QdrantBackupError as error:
        kind = FindingKind.UNREADABLE if os.path.lexists(path) else FindingKind.MISSING
        return [Finding(CHECKSUMS, kind, error.why or error.what)]
    except UnicodeDecodeError:
        return [Finding(CHECKSUMS, FindingKind.SHA256, "it is not text")]
    listed = {line[_DIGITS + 2 :]: line[:_DIGITS] for line in text.splitlines()}
    if listed.get(MANIFEST) != backup.manifest_sha256:
        return [Finding(MANIFEST, FindingKind.SHA256, f"it is not the one that {CHECKSUMS} was written for")]
    wrong = [file.path for file in backup.manifest.files if listed.get(file.path) != file.sha256]
    if wrong:
        return [Finding(CHECKSUMS, FindingKind.SHA256, f"it differs from the manifest about {wrong[0]}")]
    # The manifest at hand may be of some of the collections only; so each line is judged by its form.
    if text != "".join(f"{sha256}  {name}\n" for name, sha256 in listed.items()):
        return [Finding(CHECKSUMS, FindingKind.SHA256, "it is not as it was written: `sha256sum -c` may not read it")]
    return []


def _extra(backup: StoredBackup, expected: set[str]) -> list[Finding]:
    findings: list[Finding] = []
    with reading(backup.path):
        for directory, names, files in os.walk(backup.path):
            here = os.path.relpath(directory, backup.path).replace(os.sep, "/")
            links = [name for name in names if os.path.islink(os.path.join(directory, name))]  # noqa: PTH114, PTH118 - os.walk gives strings, and there can be many
            for name in sorted([*files, *links]):
                relative = name if here == "." else f"{here}/{name}"
                if relative not in expected:
                    findings.append(Finding(relative, FindingKind.EXTRA, "it does not belong to the backup"))
    return findings
