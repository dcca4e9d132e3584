"""Unpacking an uploaded snapshot into the directories that the engine loads.

Not `opening.unpack_archive`: that one proves an archive whole, and the server does not. It takes an archive that ends early
between two members, or lacks its end, and our users must be tested against a server that does.
"""

from __future__ import annotations

import re
import tarfile
from typing import IO, TYPE_CHECKING

from qdrant_backup.engine.rest.answers import bad_request, service_error

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["unpack"]

_NESTED = re.compile(r"^(?:.*/)?segments/[^/.]+\.tar$")
_FILES = re.compile(r"^((?:.*/)?segments/[^/]+)/files/(.+)$")
_INNER = re.compile(r"^snapshot/(?:files/)?(.+)$")


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a snapshot; nested segment archives too, and every segment's files straight into its directory.

    Raises:
        ApiError: 500, the archive is damaged or holds what no snapshot holds; `directory` then has part of it.
    """
    try:
        with archive.open("rb") as stream:
            _unpack(stream, directory, nested=False)
    except (tarfile.TarError, OSError, EOFError) as error:
        description = f"failed to unpack snapshot archive: {error}"
        raise service_error(description) from error


def _unpack(stream: IO[bytes], directory: Path, *, nested: bool) -> None:
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            name = _place(member, nested=nested)
            target = directory / name
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            source = tar.extractfile(member)
            if source is None:
                message = f"{member.name} has no data"
                raise tarfile.ReadError(message)
            if not nested and _NESTED.match(name):
                target = target.with_suffix("")
                target.mkdir(parents=True)
                _unpack(source, target, nested=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(tar, member, target)
        _require_end(stream, tar.offset)


def _place(member: tarfile.TarInfo, *, nested: bool) -> str:
    """Where the member goes; refuses kinds and names that the server refuses."""
    if not (member.isreg() or member.isdir()):
        message = f"{member.name} is neither a file nor a directory"
        raise tarfile.ReadError(message)
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts or member.name.startswith("/"):
        message = f"{member.name} leads out of the archive"
        raise tarfile.ReadError(message)
    name = "/".join(parts)
    if "segment_manifest.json" in parts:
        description = "Snapshot is a partial snapshot"
        raise bad_request(description)
    found = (_INNER if nested else _FILES).match(name)
    if found is None:
        return name
    return found[1] if nested else f"{found[1]}/{found[2]}"


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write a file, holes as holes."""
    if target.exists():
        message = f"{member.name} is there twice"
        raise tarfile.ReadError(message)
    tar.makefile(member, target)  # the documented extension point: writes the data alone, holes as holes
    if target.stat().st_size != member.size:
        message = f"{member.name} was cut"
        raise tarfile.ReadError(message)


def _require_end(stream: IO[bytes], offset: int) -> None:
    """`tarfile` ends silently at a header it cannot read; only zeros, or nothing, may stand there."""
    stream.seek(offset)
    if stream.read(512).strip(b"\0"):
        message = f"no valid header at byte {offset}"
        raise tarfile.ReadError(message)
