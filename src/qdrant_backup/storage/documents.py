"""Small JSON documents of a backup directory, with a checksum and their format's number: read whole, replaced whole.

A file is `{"sha256": ..., "document": {...}}`; the checksum is that of the document's bytes as they stand in the file.
Without it one flipped bit makes another document that reads just as well: a pin of another backup, a snapshot of the
user's in place of ours.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from qdrant_backup.errors import Incompatible, IntegrityFailed
from qdrant_backup.storage.files import write_atomically
from qdrant_backup.storage.reading import read_small

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NewerFormat", "Unsound", "read_document", "seal", "unseal", "write_document"]

_LARGEST_BYTES = 64 << 20
_Document = TypeVar("_Document", bound=msgspec.Struct)


class Unsound(ValueError):
    """These bytes are not what was sealed; the text says why."""


class NewerFormat(ValueError):
    """The document has a format's number that is not known here."""


class _Sealed(msgspec.Struct, frozen=True):
    sha256: str
    document: msgspec.Raw


class _Format(msgspec.Struct, frozen=True):
    format: int


def seal(document: msgspec.Struct, *, readable: bool = False) -> bytes:
    """The bytes of a file with this document; `readable` by people, or on one line."""
    body = msgspec.json.encode(document)
    if readable:
        body = msgspec.json.format(body, indent=1)
    return msgspec.json.encode(_Sealed(hashlib.sha256(body).hexdigest(), msgspec.Raw(body))) + b"\n"


def unseal(data: bytes, type_: type[_Document], newest: int) -> _Document:
    """The document in a file's bytes; `newest` is the highest format's number that is known here.

    Raises:
        Unsound: they are damaged.
        NewerFormat: a newer version of this tool wrote them. Asked before the checksum, which that version may take
            otherwise.
    """
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
        if msgspec.json.decode(sealed.document, type=_Format).format > newest:
            raise NewerFormat("its format is not known here")
        if hashlib.sha256(bytes(sealed.document)).hexdigest() != sealed.sha256:
            raise Unsound("its checksum does not fit")
        return msgspec.json.decode(sealed.document, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unsound(str(error)) from error


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
    try:
        return unseal(read_small(path, _LARGEST_BYTES), type_, newest)
    except NewerFormat as error:
        raise Incompatible(
            f"{path} was written by a newer qdrant-backup", why=str(error), advice="Update qdrant-backup."
        ) from error
    except Unsound as error:
        raise IntegrityFailed(damaged, why=str(error), advice=advice) from error


def write_document(path: Path, document: msgspec.Struct) -> None:
    """Replace the document in one step, readable by people.

    Raises:
        NotWritable: it cannot be written; the old one stands.
        InsufficientSpace: no room; the old one stands.
    """
    write_atomically(path, seal(document, readable=True))
