"""The digest: one fixed-width record per point, sorted by point id. Equal digests mean equal content.

A digest file is

    "QDIGEST1"                                  8 bytes
    header size                                 4 bytes, little-endian
    header                                      JSON: {"vectors": ["", "colbert", ...]}, names sorted
    record, record, ...                         each 17 + 16 + 16 x vectors bytes, in ascending order
    "END."                                      4 bytes, so that a cut at a record's border shows
    points                                      8 bytes, little-endian
    content                                     32 bytes: BLAKE3 of the header and all records

and a record is

    id          17 bytes: 0 and the number as 16 bytes big-endian, or 1 and the UUID's 16 bytes. Sorting the bytes is
                Qdrant's own order of ids (numbers first; `ExtendedPointId` in lib/segment/src/types.rs).
    payload     16 bytes: BLAKE3 of the payload as JSON with sorted keys, no white space, shortest floats. A point
                without a payload and one with an empty payload hash alike, since the server answers `{}` for both.
    vectors     16 bytes per name in the header's order: BLAKE3 of the float32 values, little-endian, behind a byte for
                the vector's kind; zeros where the point has no vector of that name.

The hashes are taken of values, not of the engine's files, so the engine, a live server and another version of either
give the same digest for the same points. With custom sharding one id may stand in several shards; its records follow
each other, ordered by their bytes.
"""

from __future__ import annotations

import functools
import struct
import sys
import uuid
from array import array
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import msgspec
from blake3 import blake3

from qdrant_backup.errors import IntegrityFailed
from qdrant_backup.model import DigestSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "Change",
    "DigestReader",
    "DigestWriter",
    "compare",
    "payload_hash",
    "payload_part",
    "point_id_of",
    "point_key",
    "record_of",
    "vector_hash",
    "vector_part",
]

MAGIC = b"QDIGEST1"
END = b"END."
KEY_SIZE = 17
HASH_SIZE = 16
ABSENT = bytes(HASH_SIZE)
_TRAILER_SIZE = len(END) + 8 + 32
_LONGEST_HEADER = 1 << 20
_READ_SIZE = 1 << 20
_LITTLE = sys.byteorder == "little"

_json = msgspec.json.Encoder(order="deterministic")


class _Header(msgspec.Struct, frozen=True):
    vectors: list[str]


def point_key(point_id: int | str | uuid.UUID) -> bytes:
    """A point id as 17 bytes that sort as Qdrant sorts ids.

    Raises:
        ValueError: it is neither a number from 0 to 2^64-1 nor a UUID.
    """
    if isinstance(point_id, int):
        if not 0 <= point_id < 1 << 64:
            msg = f"a point id is a number from 0 to 2^64-1 or a UUID, not {point_id}"
            raise ValueError(msg)
        return b"\0" + point_id.to_bytes(16, "big")
    if isinstance(point_id, str):
        point_id = uuid.UUID(point_id)
    return b"\1" + point_id.int.to_bytes(16, "big")


def point_id_of(key: bytes) -> int | str:
    """The point id that `point_key` made these 17 bytes of: a number, or a UUID's text."""
    if key[0] == 0:
        return int.from_bytes(key[1:KEY_SIZE], "big")
    return str(uuid.UUID(bytes=key[1:KEY_SIZE]))


def payload_hash(payload: Mapping[str, Any] | None) -> bytes:
    """16 bytes for a payload; key order does not matter, value types do (1 and 1.0 differ)."""
    return blake3(_json.encode(payload or {})).digest(HASH_SIZE)


@functools.lru_cache(maxsize=256)
def _packer(length: int) -> Callable[..., bytes]:
    # In native order: half as long as `array("f", ...)`, and like that one it takes too large a number for infinity.
    return struct.Struct(f"@{length}f").pack


def _floats(values: Sequence[float]) -> bytes:
    packed = _packer(len(values))(*values)
    if _LITTLE:
        return packed
    swapped = array("f", packed)
    swapped.byteswap()
    return swapped.tobytes()


def vector_hash(vector: Any) -> bytes:
    """16 bytes for a vector as the engine or the REST API gives it.

    A dense one is a list of numbers, a multivector a list of lists, a sparse one has `indices` and `values` (as keys or
    as attributes); sparse entries are ordered by index first, since their order has no meaning.
    """
    if isinstance(vector, list):
        numbers = cast("list[Any]", vector)
        if numbers and isinstance(numbers[0], list):
            rows = [_floats(row) for row in numbers]
            return blake3(b"m" + len(rows).to_bytes(8, "little") + b"".join(rows)).digest(HASH_SIZE)
        return blake3(b"d" + _floats(numbers)).digest(HASH_SIZE)
    indices, values = _sparse(vector)
    entries = sorted(zip(indices, values, strict=True))
    packed = array("Q", [index for index, _ in entries])
    if not _LITTLE:
        packed.byteswap()
    return blake3(b"s" + packed.tobytes() + _floats([value for _, value in entries])).digest(HASH_SIZE)


def _sparse(vector: Any) -> tuple[list[int], list[float]]:
    if isinstance(vector, dict):
        entries = cast("dict[str, list[Any]]", vector)
        return entries["indices"], entries["values"]
    return vector.indices, vector.values


def record_of(
    point_id: int | str | uuid.UUID,
    payload: Mapping[str, Any] | None,
    vectors: Mapping[str, Any],
    vector_names: Sequence[str],
) -> bytes:
    """A point's record, for a digest whose header holds `vector_names` (sorted)."""
    hashes = [vector_hash(vectors[name]) if name in vectors else ABSENT for name in vector_names]
    return b"".join((point_key(point_id), payload_hash(payload), *hashes))


class DigestWriter:
    """Writes a digest to a binary stream; records must come in ascending order.

    Args:
        write: takes the file's bytes, in order.
        vector_names: the collection's vector names, `""` for the unnamed one.
    """

    def __init__(self, write: Callable[[bytes], Any], vector_names: Iterable[str]) -> None:
        self.vector_names = tuple(sorted(vector_names))
        header = msgspec.json.encode(_Header(list(self.vector_names)))
        self._write = write
        self._content = blake3(header)
        self._record_size = KEY_SIZE + HASH_SIZE * (1 + len(self.vector_names))
        self._last = b""
        self._points = 0
        write(MAGIC + len(header).to_bytes(4, "little") + header)

    def add(self, records: Sequence[bytes]) -> None:
        """Append records.

        Raises:
            ValueError: one has another size, or is smaller than the one before it.
        """
        for record in records:
            if len(record) != self._record_size or record < self._last:
                msg = "digest records must have the header's size and ascend"
                raise ValueError(msg)
            self._last = record
        joined = b"".join(records)
        self._content.update(joined)
        self._points += len(records)
        self._write(joined)

    def finish(self) -> DigestSummary:
        """Write the end and return what the digest says."""
        content = self._content.digest()
        self._write(END + self._points.to_bytes(8, "little") + content)
        return DigestSummary(self._points, self.vector_names, content.hex())


class DigestReader:
    """Reads a digest from a seekable binary stream.

    Raises:
        IntegrityFailed: it is not a digest, or was cut. `records` also proves the content hash when read to the end.
    """

    def __init__(self, stream: BinaryIO, name: str = "digest") -> None:
        self._stream = stream
        self._name = name
        head = stream.read(len(MAGIC) + 4)
        header_size = int.from_bytes(head[len(MAGIC) :], "little")
        if head[: len(MAGIC)] != MAGIC or len(head) != len(MAGIC) + 4 or header_size > _LONGEST_HEADER:
            raise self._damaged("it does not begin as a digest does")
        self._header = stream.read(header_size)
        try:
            names = msgspec.json.decode(self._header, type=_Header).vectors
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged(str(error)) from None
        self._start = len(head) + header_size
        self.record_size = KEY_SIZE + HASH_SIZE * (1 + len(names))
        size = stream.seek(0, 2) - self._start - _TRAILER_SIZE
        if size < 0 or size % self.record_size:
            raise self._damaged("it was cut")
        stream.seek(self._start + size)
        trailer = stream.read(_TRAILER_SIZE)
        points = int.from_bytes(trailer[len(END) : len(END) + 8], "little")
        if trailer[: len(END)] != END or points != size // self.record_size:
            raise self._damaged("its end is missing")
        self.summary = DigestSummary(points, tuple(names), trailer[len(END) + 8 :].hex())

    def _damaged(self, why: str) -> IntegrityFailed:
        return IntegrityFailed(f"{self._name} is damaged", why=why)

    def blocks(self) -> Iterator[bytes]:
        """All records in order, joined in blocks of about 1 MiB; each block holds whole records.

        Raises:
            IntegrityFailed: at the end, when the records do not have the hash that the file's end gives.
        """
        self._stream.seek(self._start)
        content = blake3(self._header)
        left = self.summary.points
        per_block = max(1, _READ_SIZE // self.record_size)
        while left:
            block = self._stream.read(min(left, per_block) * self.record_size)
            if not block or len(block) % self.record_size:
                raise self._damaged("it was cut while it was read")
            left -= len(block) // self.record_size
            content.update(block)
            yield block
        if content.hexdigest() != self.summary.content:
            raise self._damaged("its records do not have the hash that stands at its end")

    def records(self) -> Iterator[bytes]:
        """All records in order, one at a time; raises as `blocks` does."""
        size = self.record_size
        for block in self.blocks():
            yield from (block[at : at + size] for at in range(0, len(block), size))

    def find(self, key: bytes) -> bytes | None:
        """The first record with that `point_key`, by binary search; None when there is none."""
        low, high = 0, self.summary.points
        while low < high:
            middle = (low + high) // 2
            self._stream.seek(self._start + middle * self.record_size)
            if self._stream.read(KEY_SIZE) < key:
                low = middle + 1
            else:
                high = middle
        if low == self.summary.points:
            return None
        self._stream.seek(self._start + low * self.record_size)
        record = self._stream.read(self.record_size)
        return record if record[:KEY_SIZE] == key else None


class Change(NamedTuple):
    """A point that two digests disagree about; a record is None on the side where the point is missing."""

    key: bytes
    before: bytes | None
    after: bytes | None


def compare(before: Iterable[bytes], after: Iterable[bytes]) -> Iterator[Change]:
    """The points that differ between two ascending runs of records, in id order, by one merge.

    The records of both must have the same vector names; equal records are passed over.
    """
    left, right = iter(before), iter(after)
    mine, theirs = next(left, None), next(right, None)
    while mine is not None or theirs is not None:
        if mine == theirs:
            mine, theirs = next(left, None), next(right, None)
            continue
        my_key = mine[:KEY_SIZE] if mine is not None else None
        their_key = theirs[:KEY_SIZE] if theirs is not None else None
        if their_key is None or (my_key is not None and my_key < their_key):
            yield Change(my_key or b"", mine, None)
            mine = next(left, None)
        elif my_key is None or their_key < my_key:
            yield Change(their_key, None, theirs)
            theirs = next(right, None)
        else:
            yield Change(my_key, mine, theirs)
            mine, theirs = next(left, None), next(right, None)


def payload_part(record: bytes) -> bytes:
    """The payload's hash in a record."""
    return record[KEY_SIZE : KEY_SIZE + HASH_SIZE]


def vector_part(record: bytes, names: Sequence[str], name: str) -> bytes:
    """The hash of one vector in a record whose digest has these names."""
    start = KEY_SIZE + HASH_SIZE * (1 + list(names).index(name))
    return record[start : start + HASH_SIZE]
