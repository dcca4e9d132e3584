"""The points a recovery writes, with what was there before it: one JSON document a line, durable before the first write.

It lies in `.undo/`, named by the recovery, and is as long-lived as the recovery's journal and record. The journal holds
its SHA-256: a damaged one is never worked from.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from qdrant_backup.errors import IntegrityFailed
from qdrant_backup.layout import UNDO
from qdrant_backup.storage.files import DurableFile, make_private_directory, read_blocks, remove_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qdrant_backup.model import Checksum

__all__ = ["Mend", "PointState", "PointsFile"]

_PREFIX = "points-"
_SUFFIX = ".jsonl"


class PointState(msgspec.Struct, frozen=True):
    """A point as it was or will be.

    Attributes:
        point: the JSON of {id, payload, vector}, as it is sent; nobody needs its numbers again.
        content: what `content_of_point` gives for it.
    """

    point: msgspec.Raw
    content: bytes


class Mend(msgspec.Struct, frozen=True):
    """One point that is written.

    Attributes:
        collection: the live collection.
        id: the point's.
        before: the point as it was; None where there was none.
        wanted: the point as it will be.
    """

    collection: str
    id: int | str
    before: PointState | None
    wanted: PointState

    @property
    def content_before(self) -> bytes | None:
        """What the point held; None where there was none."""
        return None if self.before is None else self.before.content


class PointsFile:
    """The file of one recovery.

    Args:
        root: the backup directory.
        name: the recovery's id.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self.path = root / UNDO / f"{_PREFIX}{name}{_SUFFIX}"

    def begin(self) -> DurableFile:
        """A new file to write `line`s to; durable once it is closed.

        Raises:
            NotWritable, InsufficientSpace: it cannot be created.
        """
        make_private_directory(self._root / UNDO)
        return DurableFile(self.path)

    @staticmethod
    def line(mend: Mend) -> bytes:
        """One point's line."""
        return msgspec.json.encode(mend) + b"\n"

    def require(self, sha256: Checksum) -> None:
        """Read all of it and compare.

        Raises:
            IntegrityFailed: it is not what the recovery wrote, or is gone.
            NotWritable: it cannot be read.
        """
        if not self.path.exists():
            raise self._damaged("it is gone")
        found = hashlib.sha256()
        for block in read_blocks(self.path):
            found.update(block)
        if found.hexdigest() != sha256:
            raise self._damaged("its SHA-256 is not the one that the journal has")

    def read(self) -> Iterator[Mend]:
        """All points in the order they were written; `require` has been called before.

        Raises:
            IntegrityFailed: a line cannot be read.
        """
        decoder = msgspec.json.Decoder(Mend)
        rest = b""
        try:
            for block in read_blocks(self.path):
                *lines, rest = (rest + block).split(b"\n")
                yield from map(decoder.decode, lines)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged(str(error)) from error

    def remove(self) -> None:
        """Delete it; nothing happens when it is not there."""
        if self.path.parent.is_dir():
            remove_file(self.path)

    @classmethod
    def names(cls, root: Path) -> list[str]:
        """The recoveries that have a file in this backup directory."""
        found = (root / UNDO).glob(f"{_PREFIX}*{_SUFFIX}")
        return sorted(path.name[len(_PREFIX) : -len(_SUFFIX)] for path in found)

    def _damaged(self, why: str) -> IntegrityFailed:
        return IntegrityFailed(
            f"{self.path} is damaged",
            why=why,
            advice="What the recovery replaced stands in it. Compare the collections with a backup: `qdrant-backup diff`.",
        )
