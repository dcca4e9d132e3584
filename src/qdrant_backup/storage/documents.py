"""Small JSON documents of a backup directory that carry their format's number: read whole, replaced whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from qdrant_backup.errors import Incompatible, IntegrityFailed
from qdrant_backup.storage.files import write_atomically
from qdrant_backup.storage.reading import read_small

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_document", "write_document"]

_LARGEST_BYTES = 64 << 20
_Document = TypeVar("_Document", bound=msgspec.Struct)


class _Format(msgspec.Struct, frozen=True):
    format: int = 0


def read_document(path: Path, type_: type[_Document], newest: int, *, damaged: str, advice: str) -> _Document:
    """The document in a file; an empty one, as its type has it, when there is no file.

    Args:
        path: the file.
        type_: what stands in it.
        newest: the highest format's number that is known here.
        damaged: what to say of a damaged one.
        advice: what to do about it.

    Raises:
        IntegrityFailed: it is damaged.
        Incompatible: a newer version of this tool wrote it.
        NotWritable: it cannot be read.
    """
    if not path.is_symlink() and not path.exists():
        return type_()
    data = read_small(path, _LARGEST_BYTES)
    try:
        if msgspec.json.decode(data, type=_Format).format > newest:
            raise Incompatible(
                f"{path} was written by a newer qdrant-backup",
                why="its format is not known here",
                advice="Update qdrant-backup.",
            )
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityFailed(damaged, why=str(error), advice=advice) from error


def write_document(path: Path, document: msgspec.Struct) -> None:
    """Replace the document in one step, readable by people.

    Raises:
        NotWritable: it cannot be written; the old one stands.
        InsufficientSpace: no room; the old one stands.
    """
    write_atomically(path, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
