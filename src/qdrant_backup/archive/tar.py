"""One tar header: 512 bytes to a value and back, in the dialect that Qdrant writes (GNU, through Rust's `tar` crate).

A reader of these bytes trusts nothing: every header carries a checksum, and a header that fails it, or says what
Qdrant never says, is refused with a `ValueError` whose text becomes the reason that the user reads.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BLOCK_BYTES",
    "END_BLOCKS",
    "Header",
    "directory_header",
    "file_header",
    "file_member",
    "padding",
    "parse_extents",
    "parse_header",
    "rename",
    "sparse_header",
]

BLOCK_BYTES = 512
END_BLOCKS = bytes(2 * BLOCK_BYTES)
"""What closes an archive: two blocks of zeros."""

REGULAR = b"0"
REGULAR_OLD = b"\0"
DIRECTORY = b"5"
SPARSE = b"S"
LONG_NAME = b"L"

_NAME = slice(0, 100)
_MODE = slice(100, 108)
_UID = slice(108, 116)
_GID = slice(116, 124)
_SIZE = slice(124, 136)
_MTIME = slice(136, 148)
_CHECKSUM = slice(148, 156)
_TYPE = slice(156, 157)
_MAGIC = slice(257, 265)
_PREFIX = slice(345, 500)
_REAL_SIZE = slice(483, 495)
_GNU = b"ustar  \0"
_USTAR = b"ustar\0"
_NAME_BYTES = 100

_SLOT_BYTES = 24
_HEADER_SLOTS_AT, _HEADER_SLOTS, _HEADER_MORE_AT = 386, 4, 482
_EXTENSION_SLOTS, _EXTENSION_MORE_AT = 21, 504

_BASE_256 = 0x80
_LARGEST = 1 << 63

_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"g": "a global pax header",
    b"x": "a pax header",
    b"K": "a long link name",
}


@dataclasses.dataclass(frozen=True)
class Header:
    """What one header block says.

    Attributes:
        name: the raw name, without the long-name record that may stand before it.
        type_flag: one of `0`, NUL, `5`, `S`, `L`.
        stored_bytes: how many bytes follow, without padding; for a sparse file less than its size.
        real_bytes: a sparse file's size; for all others the same as `stored_bytes`.
        mode: permission bits only.
        extended: a sparse file's extents go on in the next block.
    """

    name: bytes
    type_flag: bytes
    stored_bytes: int
    real_bytes: int
    mode: int
    extended: bool


def padding(stored_bytes: int) -> bytes:
    """The zeros that follow so many bytes of data, up to the next block."""
    return bytes(-stored_bytes % BLOCK_BYTES)


def _number(field: bytes) -> int:
    if field[0] == _BASE_256:
        value = int.from_bytes(field[1:], "big")
    else:
        text = field.split(b"\0", 1)[0].strip(b" ")
        if not text or text.strip(b"01234567"):
            raise ValueError(f"a number in a member's header is not octal: {field!r}")
        value = int(text, 8)
    if value >= _LARGEST:
        raise ValueError("a member claims a size that no file can have")
    return value


def _octal(value: int, width: int) -> bytes:
    digits = width - 1
    if value < 8**digits:
        return b"%0*o\0" % (digits, value)
    return bytes((_BASE_256,)) + value.to_bytes(digits, "big")


def _checksum(block: bytes) -> int:
    return sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")


def parse_header(block: bytes) -> Header:
    """Read a header block that is not all zeros.

    Raises:
        ValueError: the checksum is wrong, a number makes no sense, or the type is one that Qdrant refuses (links,
            devices, pax headers); the text says which.
    """
    if _number(block[_CHECKSUM]) != _checksum(block):
        raise ValueError("a member's header does not have its checksum")
    flag = block[_TYPE]
    name = block[_NAME].split(b"\0", 1)[0]
    if flag not in (REGULAR, REGULAR_OLD, DIRECTORY, SPARSE, LONG_NAME):
        msg = (
            f"the member {name!r} is {_REFUSED.get(flag, f'of an unknown type ({flag!r})')}, which no snapshot contains"
        )
        raise ValueError(msg)
    if block[_MAGIC].startswith(_USTAR):
        prefix = block[_PREFIX].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    stored = _number(block[_SIZE])
    real, extended = stored, False
    if flag == SPARSE:
        if block[_MAGIC] != _GNU:
            raise ValueError(f"the member {name!r} is sparse without being a GNU tar member")
        real, extended = _number(block[_REAL_SIZE]), block[_HEADER_MORE_AT] == 1
    if flag == DIRECTORY and stored:
        raise ValueError(f"the directory {name!r} claims {stored} bytes of data")
    return Header(name, flag, stored, real, _number(block[_MODE]) & 0o777, extended)


def parse_extents(block: bytes, *, extension: bool) -> tuple[list[tuple[int, int]], bool]:
    """The (offset, length) pairs of a sparse header or of an extension block, and whether another one follows.

    Empty slots are left out, and pairs of length 0 are kept: the last of them says where the file ends.

    Raises:
        ValueError: a number makes no sense.
    """
    start, slots = (0, _EXTENSION_SLOTS) if extension else (_HEADER_SLOTS_AT, _HEADER_SLOTS)
    extents = [
        (_number(block[at : at + 12]), _number(block[at + 12 : at + 24]))
        for at in range(start, start + slots * _SLOT_BYTES, _SLOT_BYTES)
        if block[at] and block[at + 12]
    ]
    return extents, block[_EXTENSION_MORE_AT if extension else _HEADER_MORE_AT] == 1


def _sealed(block: bytearray) -> bytes:
    block[_CHECKSUM] = _octal(_checksum(bytes(block)), 8)
    return bytes(block)


def _blank(name: bytes, type_flag: bytes, stored_bytes: int, mode: int) -> bytearray:
    block = bytearray(BLOCK_BYTES)
    block[: len(name)] = name
    block[_MODE] = _octal(mode, 8)
    block[_UID] = block[_GID] = _octal(0, 8)
    block[_SIZE] = _octal(stored_bytes, 12)
    block[_MTIME] = _octal(0, 12)
    block[_TYPE] = type_flag
    block[_MAGIC] = _GNU
    return block


def _named(name: str) -> tuple[bytes, bytes]:
    """The long-name record that `name` needs (often none), and the name as the header itself carries it."""
    raw = name.encode()
    if len(raw) <= _NAME_BYTES:
        return b"", raw
    record = _sealed(_blank(b"././@LongLink", LONG_NAME, len(raw) + 1, 0o644)) + raw + b"\0" + padding(len(raw) + 1)
    return record, raw[:_NAME_BYTES].decode(errors="ignore").encode()


def file_header(name: str, size_bytes: int, *, mode: int = 0o644) -> bytes:
    """The header of a regular file, behind the long-name record where the name needs one."""
    record, short = _named(name)
    return record + _sealed(_blank(short, REGULAR, size_bytes, mode))


def directory_header(name: str, *, mode: int = 0o755) -> bytes:
    """The header of a directory; its name ends in a slash, as in every tar."""
    record, short = _named(name.rstrip("/") + "/")
    return record + _sealed(_blank(short, DIRECTORY, 0, mode))


def sparse_header(name: str, size_bytes: int, extents: Sequence[tuple[int, int]], *, mode: int = 0o644) -> bytes:
    """The header of a sparse file of `size_bytes`, with its extension blocks.

    Args:
        name: the member's name.
        size_bytes: the file's size, holes included.
        extents: (offset, length) of the stored runs, ascending; the lengths but the last must be multiples of 512,
            or the server refuses the member.
        mode: permission bits.
    """
    record, short = _named(name)
    block = _blank(short, SPARSE, sum(length for _, length in extents), mode)
    slots = [_octal(offset, 12) + _octal(length, 12) for offset, length in (*extents, (size_bytes, 0))]
    first = b"".join(slots[:_HEADER_SLOTS])
    block[_HEADER_SLOTS_AT : _HEADER_SLOTS_AT + len(first)] = first
    block[_HEADER_MORE_AT] = len(slots) > _HEADER_SLOTS
    block[_REAL_SIZE] = _octal(size_bytes, 12)
    blocks = [record, _sealed(block)]
    for at in range(_HEADER_SLOTS, len(slots), _EXTENSION_SLOTS):
        extension = b"".join(slots[at : at + _EXTENSION_SLOTS]).ljust(_EXTENSION_MORE_AT, b"\0")
        more = bytes((len(slots) > at + _EXTENSION_SLOTS,))
        blocks.append((extension + more).ljust(BLOCK_BYTES, b"\0"))
    return b"".join(blocks)


def file_member(name: str, data: bytes, *, mode: int = 0o644) -> bytes:
    """A whole regular member: header, data, padding."""
    return file_header(name, len(data), mode=mode) + data + padding(len(data))


def rename(blocks: bytes, name: str) -> bytes:
    """A member's header blocks under another name: all else in them stays as it was, long-name record as needed.

    Args:
        blocks: the header and its sparse extension blocks, without a long-name record.
        name: the new name; a directory's ends in a slash.
    """
    record, short = _named(name)
    block = bytearray(blocks[:BLOCK_BYTES])
    block[_NAME] = short.ljust(_NAME_BYTES, b"\0")
    if block[_MAGIC].startswith(_USTAR):
        block[_PREFIX] = bytes(155)
    return record + _sealed(block) + blocks[BLOCK_BYTES:]
