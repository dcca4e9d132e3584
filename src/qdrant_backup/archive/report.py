"""The report of what an archive holds: values without behaviour."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ArchiveKind", "ArchiveReport", "SegmentReport", "ShardReport"]

ArchiveKind = Literal["collection", "shard", "partial"]


@dataclasses.dataclass(frozen=True)
class SegmentReport:
    """One segment. `version` is the number of the last operation in it, None where `segment.json` does not say."""

    name: str
    files: int
    stored_bytes: int
    version: int | None
    state: Mapping[str, Any]
    manifest: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class ShardReport:
    """One shard as the archive holds it.

    Attributes:
        shard_id: its number; None in a shard's own archive, which does not say.
        has_data: this archive carries its points; False where another peer held them.
        segments: in the order of the archive.
        replica_state: the document of that name, `{}` when unreadable ones are impossible but keys are missing.
        stored_bytes: of all its members.
    """

    shard_id: int | None
    has_data: bool
    segments: tuple[SegmentReport, ...]
    replica_state: Mapping[str, Any]
    stored_bytes: int


@dataclasses.dataclass(frozen=True)
class ArchiveReport:
    """What a whole archive holds.

    Attributes:
        kind: of a collection, of a shard, or a partial one of a shard (with segment manifests).
        size_bytes: the archive itself.
        members: files in it, those of nested archives counted one by one.
        stored_bytes: their stored bytes together.
        logical_bytes: their sizes together, holes included.
        shards: by number.
        config: `config.json`; None in a shard's archive, like the two that follow.
        payload_schema: `payload_index.json`'s `schema`.
        shard_keys: (key, shard numbers), empty without custom sharding.
        unknown: names at the root or in a shard that this version does not know (the first 20).
    """

    kind: ArchiveKind
    size_bytes: int
    members: int
    stored_bytes: int
    logical_bytes: int
    shards: tuple[ShardReport, ...]
    config: Mapping[str, Any] | None = None
    payload_schema: Mapping[str, Any] | None = None
    shard_keys: tuple[tuple[str | int, tuple[int, ...]], ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def shard_ids(self) -> tuple[int, ...]:
        """The numbers of all shards; empty for a shard's archive."""
        return tuple(shard.shard_id for shard in self.shards if shard.shard_id is not None)

    @property
    def shards_with_data(self) -> tuple[int, ...]:
        """The numbers of the shards whose points are in the archive."""
        return tuple(shard.shard_id for shard in self.shards if shard.has_data and shard.shard_id is not None)
