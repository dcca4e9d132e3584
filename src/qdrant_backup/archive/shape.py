"""What a snapshot must contain, whatever the order of its members, and the report of what it does contain.

A collection's archive holds `{shard}/...` for each of its shards and four documents at its root; a shard's archive is
the inside of one `{shard}/`. The server notices far less than is checked here: a segment without `version.info` is
deleted in silence, a shard without `segments/` or `wal/` is skipped, and a snapshot that was cut between two members
is taken for whole (`qdrant-internals.md` 4; `lib/collection/src/shards/local_shard/mod.rs` of Qdrant 1.18.3).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.archive.places import (
    COLLECTION_DOCUMENTS,
    SEGMENT_DOCUMENTS,
    SHARD_DOCUMENTS,
    SHARD_OPTIONAL,
    Place,
    is_document,
)
from qdrant_backup.archive.report import ArchiveKind, ArchiveReport, SegmentReport, ShardReport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["Shape", "check_shard_ids", "shard_keys_of"]

_MOST_NAMED = 20
_ALL_DOCUMENTS_BYTES = 64 << 20


class _ShardKey(msgspec.Struct, frozen=True):
    key: str | int
    shard_ids: list[int]


@dataclasses.dataclass
class _Segment:
    files: int = 0
    stored_bytes: int = 0
    documents: dict[str, bytes] = dataclasses.field(default_factory=dict[str, bytes])


@dataclasses.dataclass
class _Shard:
    stored_bytes: int = 0
    has_wal: bool = False
    documents: dict[str, bytes] = dataclasses.field(default_factory=dict[str, bytes])
    segments: dict[str, _Segment] = dataclasses.field(default_factory=dict[str, _Segment])


def _json(documents: Mapping[str, bytes], name: str, where: str) -> Any:
    try:
        return msgspec.json.decode(documents[name])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{where}{name} is not JSON: {error}") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} does not hold what it should")  # noqa: TRY004 - the archive is at fault, not a caller's type
    return cast("dict[str, Any]", value)


def _json_object(documents: Mapping[str, bytes], name: str, where: str) -> dict[str, Any]:
    return _object(_json(documents, name, where), f"{where}{name}")


def _require(names: Iterable[str], documents: Collection[str], where: str) -> None:
    missing = [name for name in names if name not in documents]
    if missing:
        raise ValueError(f"{where}{missing[0]} is missing")


def check_shard_ids(
    found: Collection[int],
    *,
    config: Mapping[str, Any],
    shard_keys: Iterable[tuple[str | int, Iterable[int]]],
    expected: Collection[int] | None = None,
) -> None:
    """Every shard that the collection has stands in its archive, and no other.

    Args:
        found: the shards in the archive.
        config: the collection's config.
        shard_keys: which shards belong to which key; empty without custom sharding.
        expected: the shards that the server lists; without it, those that `config` and `shard_keys` imply.

    Raises:
        ValueError: naming the shards that are missing or too many.
    """
    if expected is None:
        params = _object(config.get("params"), "config.json")
        keyed = {shard_id for _, shard_ids in shard_keys for shard_id in shard_ids}
        if keyed or params.get("sharding_method") == "custom":
            expected = keyed
        else:
            number = params.get("shard_number", 1)
            # Compared by value before any range is made: the number comes from the archive.
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"config.json says that there are {number!r} shards")
            if number > len(found):
                raise ValueError(f"it holds {len(found)} of {number} shards")
            expected = range(number)
    missing, surplus = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or surplus:
        said = [f"shard {shard_id} is missing" for shard_id in missing]
        said += [f"shard {shard_id} is not one of the collection's" for shard_id in surplus]
        raise ValueError(", ".join(said[:_MOST_NAMED]))


def shard_keys_of(mapping: Any) -> tuple[tuple[str | int, tuple[int, ...]], ...]:
    """`shard_key_mapping.json` as (key, shard numbers): a list of `{key, shard_ids}`, or an object in older versions.

    Raises:
        ValueError: it is neither.
    """
    try:
        if isinstance(mapping, dict):
            by_key = msgspec.convert(mapping, dict[str, list[int]])
            return tuple((key, tuple(shard_ids)) for key, shard_ids in by_key.items())
        return tuple((each.key, tuple(each.shard_ids)) for each in msgspec.convert(mapping, list[_ShardKey]))
    except msgspec.ValidationError as error:
        raise ValueError(f"shard_key_mapping.json does not hold what it should: {error}") from None


class Shape:
    """Collects what passes by and says at the end whether it was a whole snapshot. All complaints are `ValueError`s.

    Args:
        most_members: more than these are hostile.
        document_bytes: a document larger than this is hostile.
        total_hole_bytes: more holes than these in all sparse members together are hostile.
    """

    def __init__(self, *, most_members: int, document_bytes: int, total_hole_bytes: int) -> None:
        self._most_members = most_members
        self._document_bytes = document_bytes
        self._total_hole_bytes = total_hole_bytes
        self._entries = 0
        self._kept_bytes = 0
        self._members = 0
        self._stored_bytes = 0
        self._logical_bytes = 0
        self._root: dict[str, bytes] = {}
        self._shards: dict[int | None, _Shard] = {}
        self._unknown: list[str] = []

    def count_entry(self) -> None:
        """An entry of any type passes, at whatever depth."""
        self._entries += 1
        if self._entries > self._most_members:
            raise ValueError(f"it has more than {self._most_members} members")

    def add_directory(self, place: Place) -> None:
        """A directory passes: an empty WAL has nothing else to show, and a segment without files is damage."""
        if place.area == "wal":
            self._shard(place).has_wal = True
        elif place.segment:
            self._shard(place).segments.setdefault(place.segment, _Segment())

    def add_segment(self, place: Place) -> None:
        """A segment's own archive begins."""
        self._shard(place).segments[place.segment] = _Segment()

    def add_file(self, place: Place, *, size_bytes: int, stored_bytes: int) -> None:
        """A file passes; when `is_document(place)`, its content is expected by `keep`."""
        self._members += 1
        self._stored_bytes += stored_bytes
        self._logical_bytes += size_bytes
        if self._logical_bytes - self._stored_bytes > self._total_hole_bytes:
            raise ValueError(f"its sparse members claim {self._logical_bytes} bytes")
        if is_document(place):
            self._kept_bytes += size_bytes
            if size_bytes > self._document_bytes or self._kept_bytes > _ALL_DOCUMENTS_BYTES:
                raise ValueError(f"the document {place.prefix}{place.path} has {size_bytes} bytes")
        elif place.area == "root" or (place.area == "shard" and place.path not in SHARD_OPTIONAL):
            self._note(place)
        if place.area != "root":
            self._add_to_shard(place, stored_bytes)

    def _shard(self, place: Place) -> _Shard:
        return self._shards.setdefault(place.shard, _Shard())

    def _add_to_shard(self, place: Place, stored_bytes: int) -> None:
        shard = self._shard(place)
        shard.stored_bytes += stored_bytes
        if place.area == "wal":
            shard.has_wal = True
        elif place.segment:
            segment = shard.segments.setdefault(place.segment, _Segment())
            segment.files += 1
            segment.stored_bytes += stored_bytes

    def _note(self, place: Place) -> None:
        if len(self._unknown) < _MOST_NAMED:
            self._unknown.append(place.prefix + place.path)

    def keep(self, place: Place, content: bytes) -> None:
        """Take the content of a file that `add_file` wanted."""
        if place.area == "root":
            self._root[place.path] = content
        elif place.segment:
            self._shard(place).segments[place.segment].documents[place.path] = content
        else:
            self._shard(place).documents[place.path] = content

    def report(
        self, size_bytes: int, *, kind: ArchiveKind | None, expected_shards: Collection[int] | None
    ) -> ArchiveReport:
        """What the archive holds, after it has been proven to be all that its kind must hold.

        Args:
            size_bytes: of the archive.
            kind: what it must be; None takes it for what it looks like.
            expected_shards: the shards that a collection's archive must hold; see `check_shard_ids`.

        Raises:
            ValueError: saying what is missing or contradicts itself.
        """
        found = self._kind()
        if kind is not None and kind != found:
            raise ValueError(f"it is a {found} archive, not a {kind} one")
        shards = tuple(
            _shard_report(shard_id, shard, partial=found == "partial")
            for shard_id, shard in sorted(self._shards.items(), key=lambda item: -1 if item[0] is None else item[0])
        )
        report = ArchiveReport(
            found,
            size_bytes,
            self._members,
            self._stored_bytes,
            self._logical_bytes,
            shards,
            unknown=tuple(self._unknown),
        )
        return self._with_documents(report, expected_shards) if found == "collection" else report

    def _with_documents(self, report: ArchiveReport, expected_shards: Collection[int] | None) -> ArchiveReport:
        _require(COLLECTION_DOCUMENTS, self._root, "")
        _require_text(self._root, "")
        config = _json_object(self._root, "config.json", "")
        schema = _object(_json_object(self._root, "payload_index.json", "").get("schema"), "payload_index.json")
        keys = shard_keys_of(_json(self._root, "shard_key_mapping.json", ""))
        check_shard_ids(report.shard_ids, config=config, shard_keys=keys, expected=expected_shards)
        return dataclasses.replace(report, config=config, payload_schema=schema, shard_keys=keys)

    def _kind(self) -> ArchiveKind:
        of_collection = any(shard_id is not None for shard_id in self._shards) or bool(self._root)
        if of_collection and None in self._shards:
            raise ValueError("it mixes the members of a collection's archive with those of a shard's")
        if not of_collection and not self._shards:
            raise ValueError("it is no snapshot: none of a snapshot's members is in it")
        if of_collection:
            return "collection"
        segments = self._shards[None].segments.values()
        return "partial" if any("segment_manifest.json" in segment.documents for segment in segments) else "shard"


def _shard_report(shard_id: int | None, shard: _Shard, *, partial: bool) -> ShardReport:
    where = "" if shard_id is None else f"{shard_id}/"
    _require(SHARD_DOCUMENTS, shard.documents, where)
    state = _json_object(shard.documents, "replica_state.json", where)
    _json_object(shard.documents, "shard_config.json", where)
    is_local = state.get("is_local")
    if not isinstance(is_local, bool):
        raise ValueError(f"{where}replica_state.json does not say whether the shard is here")  # noqa: TRY004 - the archive is at fault, not a caller's type
    if is_local is not bool(shard.segments) or (is_local and not shard.has_wal) or (shard_id is None and not is_local):
        raise ValueError(
            f"{where}segments or {where}wal is missing" if is_local else f"{where}replica_state.json denies its data"
        )
    segments = tuple(
        _segment_report(name, segment, f"{where}segments/{name}/", partial=partial)
        for name, segment in shard.segments.items()
    )
    return ShardReport(shard_id, is_local, segments, state, shard.stored_bytes)


def _segment_report(name: str, segment: _Segment, where: str, *, partial: bool) -> SegmentReport:
    documents = segment.documents
    _require(SEGMENT_DOCUMENTS if partial else SEGMENT_DOCUMENTS[:2], documents, where)
    if not partial and "segment_manifest.json" in documents:
        raise ValueError(
            f"{where}segment_manifest.json belongs to a partial snapshot, which restores only onto its base"
        )
    _require_text(documents, where)
    state = _json_object(documents, "segment.json", where)
    version = state.get("version")
    return SegmentReport(
        name,
        segment.files,
        segment.stored_bytes,
        version if isinstance(version, int) else None,
        state,
        _json_object(documents, "segment_manifest.json", where) if partial else None,
    )


def _require_text(documents: Mapping[str, bytes], where: str) -> None:
    if not documents["version.info"].strip():
        raise ValueError(f"{where}version.info is empty")
