"""Two digests side by side: equal stretches are passed over at memory speed, so that only what differs costs time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.digest import ABSENT, HASH_SIZE, KEY_SIZE, Change, compare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qdrant_backup.digest import DigestReader

__all__ = ["changes", "projected"]


class _Cursor:
    """A place in a digest's records, of which many can be compared at once."""

    def __init__(self, reader: DigestReader) -> None:
        self._blocks = reader.blocks()
        self.block = next(self._blocks, b"")
        self.at = 0

    def move(self, at: int) -> None:
        """Go on to a place in the block, or to the next block from its end; an empty block is the end of all."""
        self.at = at
        if at == len(self.block):
            self.block, self.at = next(self._blocks, b""), 0

    def rest(self, size: int) -> Iterator[bytes]:
        """The records from here on."""
        while self.block:
            record = self.block[self.at : self.at + size]
            self.move(self.at + size)
            yield record


def changes(before: DigestReader, after: DigestReader) -> Iterator[Change]:
    """The points that two digests disagree about, as `compare`, but passing over equal stretches at memory speed.

    Where the vector names differ, only those that both have are compared.

    Raises:
        IntegrityFailed: at the end, when the records of either do not have the hash that they must have.
    """
    if before.summary.vector_names != after.summary.vector_names:
        common = sorted(set(before.summary.vector_names) & set(after.summary.vector_names))
        yield from compare(projected(before, common), projected(after, common))
        return
    size = before.record_size
    left, right = _Cursor(before), _Cursor(after)
    while left.block and right.block:
        mine, theirs, here, there = left.block, right.block, left.at, right.at
        most = min(len(mine) - here, len(theirs) - there)
        end = here + most
        while here < end:
            record, other = mine[here : here + size], theirs[there : there + size]
            if record == other:
                same = _equal_bytes(mine, here, theirs, there, end - here, size)
                here, there = here + same, there + same
            elif record[:KEY_SIZE] == other[:KEY_SIZE]:
                yield Change(record[:KEY_SIZE], record, other)
                here, there = here + size, there + size
            else:
                break
        left.move(here)
        right.move(there)
        if here < end:
            yield _missing(left, right, size)
    for record in left.rest(size):
        yield Change(record[:KEY_SIZE], record, None)
    for record in right.rest(size):
        yield Change(record[:KEY_SIZE], None, record)


def _equal_bytes(mine: bytes, here: int, theirs: bytes, there: int, most: int, size: int) -> int:
    """How many bytes, in whole records, are the same from two places on: a gallop, then a binary search."""
    known, stretch = 0, size
    while known < most:
        stretch = min(stretch, most - known)
        begin, other = here + known, there + known
        if mine[begin : begin + stretch] != theirs[other : other + stretch]:
            break
        known, stretch = known + stretch, 2 * stretch
    else:
        return known
    while stretch > size:
        half = stretch // (2 * size) * size
        begin, other = here + known, there + known
        if mine[begin : begin + half] == theirs[other : other + half]:
            known, stretch = known + half, stretch - half
        else:
            stretch = half
    return known


def _missing(left: _Cursor, right: _Cursor, size: int) -> Change:
    """The change at two places with different ids: the smaller one has no counterpart."""
    mine, theirs = left.block[left.at : left.at + size], right.block[right.at : right.at + size]
    if mine < theirs:
        left.move(left.at + size)
        return Change(mine[:KEY_SIZE], mine, None)
    right.move(right.at + size)
    return Change(theirs[:KEY_SIZE], None, theirs)


def projected(reader: DigestReader, names: Sequence[str]) -> Iterator[bytes]:
    """A digest's records with the vectors of these names only, in that order; a name the digest has not is absent."""
    here = reader.summary.vector_names
    first = KEY_SIZE + HASH_SIZE
    starts = [first + HASH_SIZE * here.index(name) if name in here else -1 for name in names]
    for record in reader.records():
        hashes = [record[start : start + HASH_SIZE] if start >= 0 else ABSENT for start in starts]
        yield record[:first] + b"".join(hashes)
