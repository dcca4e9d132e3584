"""Pass members on under other names, or leave them out, without touching their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.archive import tar
from qdrant_backup.archive.stream import Entry, Limits, TarParser

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rewriter"]


class Rewriter:
    """Rewrites one tar from chunks to pieces; the end blocks are left to the caller, who may have more to add.

    It checks what a `TarParser` checks. Whoever needs the archive proven feeds an `ArchiveWalker` with the same chunks.

    Args:
        renamed: the new name of a member, or None to leave it out.
        limits: what counts as hostile.
        name: what to call the archive in messages.
    """

    def __init__(self, renamed: Callable[[Entry], str | None], *, limits: Limits, name: str) -> None:
        self._renamed = renamed
        self._parser = TarParser(self, limits=limits, name=name)
        self._pieces: list[bytes | memoryview] = []
        self._passes = False
        self._padding = b""

    def feed(self, chunk: bytes | bytearray | memoryview) -> bytes:
        """What this chunk's members have become; often empty, never kept."""
        self._parser.feed(chunk)
        joined = b"".join(self._pieces)
        self._pieces.clear()
        return joined

    def entry(self, entry: Entry) -> None:
        """A member begins (called by the parser)."""
        name = self._renamed(entry) if entry.name else None
        self._passes = name is not None
        if name is not None:
            self._pieces.append(tar.rename(entry.blocks, f"{name}/" if entry.kind == "directory" else name))
            self._padding = tar.padding(entry.stored_bytes)

    def data(self, view: memoryview) -> None:
        """Data of the member (called by the parser)."""
        if self._passes:
            self._pieces.append(view)

    def end_entry(self) -> None:
        """The member is complete (called by the parser)."""
        if self._passes and self._padding:
            self._pieces.append(self._padding)
