"""Which shard of a collection a point belongs to: the server's own hash ring, so that snapshots stay valid there.

Source: lib/collection/src/hash_ring.rs, lib/common/common/src/stable_hash.rs, lib/segment/src/types.rs (StableHash of
ExtendedPointId) at v1.18.3, and SipHash-2-4 with an all-zero key.
"""

from __future__ import annotations

import bisect
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uuid

__all__ = ["Ring"]

SCALE = 100
"""Places of one shard on the ring (HASH_RING_SHARD_SCALE)."""

_MASK = (1 << 64) - 1


def _rotate(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _MASK


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _MASK
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 = (v2 + v3) & _MASK
    v3 = _rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & _MASK
    v3 = _rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = _rotate(v1, 17) ^ v2
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


def siphash(data: bytes) -> int:
    """SipHash-2-4 of `data` with the key zero."""
    v0, v1, v2, v3 = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v3 ^= word
        v0, v1, v2, v3 = _round(*_round(v0, v1, v2, v3))
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


class Ring:
    """The ring of a collection with `shards` shards, numbered from 0."""

    def __init__(self, shards: int) -> None:
        self._only = shards == 1
        places = sorted(
            (siphash(struct.pack("<II", shard, place)), shard) for shard in range(shards) for place in range(SCALE)
        )
        self._keys = [key for key, _ in places]
        self._shards = [shard for _, shard in places]

    def shard_of(self, point_id: int | uuid.UUID) -> int:
        """The shard that holds the point."""
        if self._only:
            return 0
        if isinstance(point_id, int):
            data = struct.pack("<QQ", 0, point_id)
        else:
            data = struct.pack("<QQ", 1, 16) + point_id.bytes
        at = bisect.bisect_left(self._keys, siphash(data))
        return self._shards[at % len(self._shards)]
