"""`diff`: what separates two backups, or a backup and what the server holds now.

Points are compared by their digests, at the disk's speed; only those that differ are read, and only when somebody wants
to see them. Configs, payload indexes and aliases are compared as the manifests and the server have them.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, cast

from qdrant_backup.digest import payload_part, point_id_of, vector_part
from qdrant_backup.digest_merge import changes
from qdrant_backup.errors import CollectionMissing, UsageError
from qdrant_backup.operations.looking.sides import points_by_id
from qdrant_backup.operations.restore.differences import differences, normal_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qdrant_backup.digest import Change, DigestReader
    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.looking.sides import Side
    from qdrant_backup.operations.restore.differences import Difference

__all__ = ["CollectionDiff", "Counts", "Diff", "DiffRequest", "PointDiff", "diff", "diff_json", "fields_changed"]

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_BATCH_POINTS = 256


@dataclasses.dataclass(frozen=True)
class DiffRequest:
    """What to compare, and how much of it to show.

    Attributes:
        collections: only these; all of both sides when empty.
        by: a payload field, with dots for nested ones, to count by; empty for none.
        listed: whether the points themselves are wanted, with what changed in each.
        limit: how many points of each collection are listed; None for all.
    """

    collections: tuple[str, ...] = ()
    by: str = ""
    listed: bool = True
    limit: int | None = None


@dataclasses.dataclass
class Counts:
    """How many points differ, and how. A point whose payload and vector changed counts in both."""

    added: int = 0
    removed: int = 0
    payload_changed: int = 0
    vector_changed: int = 0

    @property
    def any(self) -> bool:
        """Whether a point differs."""
        return bool(self.added or self.removed or self.payload_changed or self.vector_changed)

    def count(self, change: str, *, payload: bool, vectors: bool) -> None:
        """One point more."""
        self.added += change == ADDED
        self.removed += change == REMOVED
        if change == CHANGED:
            self.payload_changed += payload
            self.vector_changed += vectors


@dataclasses.dataclass(frozen=True)
class PointDiff:
    """One point that differs.

    Attributes:
        change: `added`, `removed` or `changed`.
        payload: whether the payloads differ.
        vectors: the names of vectors that differ; the unnamed one is the empty string.
        fields: payload field to {before, after}; what is missing on a side has no such key. Empty where it was not read.
    """

    id: int | str
    change: str
    payload: bool = False
    vectors: tuple[str, ...] = ()
    fields: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict[str, Any])


@dataclasses.dataclass(frozen=True)
class CollectionDiff:
    """One collection.

    Attributes:
        presence: `both`, or `before` or `after` when only that side has it.
        points: those that differ, in the order of their ids, as far as they are listed.
        cut: whether more differ than are listed.
        by: counts by the text of the payload field that was asked for.
        config: fields of the config that differ.
        indexes: payload field to {before, after}, its index's definition.
        config_known: whether both sides have a config to compare.
    """

    presence: str
    counts: Counts
    points: tuple[PointDiff, ...] = ()
    cut: bool = False
    by: Mapping[str, Counts] = dataclasses.field(default_factory=dict[str, Counts])
    config: tuple[Difference, ...] = ()
    indexes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict[str, Any])
    config_known: bool = True

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.presence == "both" and not (self.counts.any or self.config or self.indexes)


@dataclasses.dataclass(frozen=True)
class Diff:
    """Everything that differs; `aliases` maps an alias to {before, after}, its collection on either side."""

    before: str
    after: str
    collections: Mapping[CollectionName, CollectionDiff]
    aliases: Mapping[str, Mapping[str, Any]]

    @property
    def same(self) -> bool:
        """Whether the two sides hold the same."""
        return not self.aliases and all(found.same for found in self.collections.values())


def diff(request: DiffRequest, before: Side, after: Side) -> Diff:
    """Compare two sides.

    Raises:
        CollectionMissing: a collection was named that neither side has.
        UsageError: no point that differs has the field to count by.
        ContentUnreadable: the engine cannot judge a collection's content.
        IntegrityFailed: a digest or a backup is damaged.
    """
    here, there = frozenset(before.collections), frozenset(after.collections)
    names = _chosen(request, here | there)
    found: dict[CollectionName, CollectionDiff] = {}
    for name in names:
        comparison = _Comparison(request, name, before if name in here else None, after if name in there else None)
        found[name] = comparison.run()
    _require_field(request, found.values())
    aliases: dict[str, Mapping[str, Any]] = {}
    if not request.collections and before.knows_config and after.knows_config:
        aliases = fields_changed(before.aliases, after.aliases)
    return Diff(before.name, after.name, found, aliases)


def _chosen(request: DiffRequest, there: frozenset[CollectionName]) -> list[CollectionName]:
    missing = sorted(set(request.collections) - there)
    if missing:
        raise CollectionMissing(
            f"neither side has a collection {missing[0]!r}",
            why=f"they have {', '.join(sorted(there)) or 'none'}",
            advice="Check the spelling: names are case-sensitive.",
        )
    return sorted(name for name in there if not request.collections or name in request.collections)


def _require_field(request: DiffRequest, found: Sequence[CollectionDiff] | Any) -> None:
    groups = [found.by for found in found if found.counts.any]
    if request.by and groups and all(set(group) <= {""} for group in groups):
        raise UsageError(
            f"--by {request.by!r} counts nothing",
            why="no point that differs has such a payload field",
            advice="Name a field of the payloads, with dots for nested ones.",
        )


def fields_changed(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """The keys whose values differ, sorted, each with {before, after}; a missing one has no such key."""
    old, new = before or {}, after or {}
    changed: dict[str, Mapping[str, Any]] = {}
    for field in sorted(old.keys() | new.keys()):
        if field not in old:
            changed[field] = {"after": new[field]}
        elif field not in new:
            changed[field] = {"before": old[field]}
        elif not _equal(old[field], new[field]):
            changed[field] = {"before": old[field], "after": new[field]}
    return changed


def _equal(old: Any, new: Any) -> bool:
    """Whether two JSON values are the same, where 1, 1.0 and true are three, as for the digest."""
    if isinstance(old, dict) and isinstance(new, dict):
        mine, theirs = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        return mine.keys() == theirs.keys() and all(_equal(mine[key], theirs[key]) for key in mine)
    if isinstance(old, list) and isinstance(new, list):
        left, right = cast("list[Any]", old), cast("list[Any]", new)
        return len(left) == len(right) and all(map(_equal, left, right))
    return type(cast("object", old)) is type(cast("object", new)) and old == new


def value_at(payload: Mapping[str, Any], path: str) -> str:
    """The text of a payload field, with dots for nested ones; empty where there is none."""
    value: Any = payload
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return ""
        value = cast("dict[str, Any]", value)[key]
    return value if isinstance(value, str) else repr(value)


class _Comparison:
    """One collection's."""

    def __init__(self, request: DiffRequest, name: CollectionName, before: Side | None, after: Side | None) -> None:
        self._request = request
        self._name = name
        self._before = before
        self._after = after
        self._counts = Counts()
        self._by: dict[str, Counts] = collections.defaultdict(Counts)
        self._listed: list[PointDiff] = []
        self._cut = False

    def run(self) -> CollectionDiff:
        """Compare points, config and indexes."""
        presence = "after" if self._before is None else "before" if self._after is None else "both"
        changed = iter(self._changed())
        while batch := list(itertools.islice(changed, _BATCH_POINTS)):
            self._take(batch)
        config, indexes, known = self._schemas()
        return CollectionDiff(
            presence, self._counts, tuple(self._listed), self._cut, dict(self._by), config, indexes, known
        )

    def _changed(self) -> Iterator[PointDiff]:
        before, after = self._before, self._after
        if before is None or after is None:
            change = ADDED if before is None else REMOVED
            side = cast("Side", after if before is None else before)
            for record in side.digest(self._name).records():
                yield PointDiff(point_id_of(record), change)
            return
        content = before.known_content(self._name)
        if content and content == after.known_content(self._name):
            return
        old, new = before.digest(self._name), after.digest(self._name)
        judged = _Judge(old, new)
        for change in changes(old, new):
            yield judged(change)

    def _take(self, batch: list[PointDiff]) -> None:
        """Count a batch, and read as much of it as is to be shown."""
        request = self._request
        for point in batch:
            self._counts.count(point.change, payload=point.payload, vectors=bool(point.vectors))
        room = len(batch) if request.limit is None else max(0, request.limit - len(self._listed))
        room = room if request.listed else 0
        self._cut |= request.listed and room < len(batch)
        wanted = batch if request.by else batch[:room]
        if not wanted:
            return
        ids = [point.id for point in wanted]
        old, new = self._payloads(self._before, ids), self._payloads(self._after, ids)
        for point in wanted if request.by else ():
            group = value_at(new.get(point.id) or old.get(point.id) or {}, request.by)
            self._by[group].count(point.change, payload=point.payload, vectors=bool(point.vectors))
        for point in batch[:room]:
            fields = fields_changed(old.get(point.id), new.get(point.id))
            self._listed.append(dataclasses.replace(point, fields=fields))

    def _payloads(self, side: Side | None, ids: list[int | str]) -> dict[int | str, dict[str, Any]]:
        if side is None:
            return {}
        return {found: point.get("payload") or {} for found, point in points_by_id(side, self._name, ids).items()}

    def _schemas(self) -> tuple[tuple[Difference, ...], dict[str, Mapping[str, Any]], bool]:
        before, after = self._before, self._after
        if before is None or after is None:
            return (), {}, True
        if not (before.knows_config and after.knows_config):
            return (), {}, False
        old_config, old_schema = before.schema(self._name)
        new_config, new_schema = after.schema(self._name)
        indexes = fields_changed(normal_schema(old_schema), normal_schema(new_schema))
        return differences(old_config, new_config), indexes, True


class _Judge:
    """Says what differs in two records of the digests it was made for."""

    def __init__(self, before: DigestReader, after: DigestReader) -> None:
        mine, theirs = before.summary.vector_names, after.summary.vector_names
        # Where the names differ, `changes` gives records of the common ones alone.
        self._names = mine if mine == theirs else tuple(sorted(set(mine) & set(theirs)))

    def __call__(self, change: Change) -> PointDiff:
        point_id = point_id_of(change.key)
        if change.before is None:
            return PointDiff(point_id, ADDED)
        if change.after is None:
            return PointDiff(point_id, REMOVED)
        old, new = change.before, change.after
        vectors = tuple(
            name for name in self._names if vector_part(old, self._names, name) != vector_part(new, self._names, name)
        )
        return PointDiff(point_id, CHANGED, payload_part(old) != payload_part(new), vectors)


def diff_json(found: Diff, *, listed: bool = True) -> dict[str, Any]:
    """`diff --json`; `docs/json.md` holds the schema."""
    return {
        "before": found.before,
        "after": found.after,
        "same": found.same,
        "collections": {name: _collection_json(one, listed=listed) for name, one in found.collections.items()},
        "aliases": dict(found.aliases),
    }


def _collection_json(found: CollectionDiff, *, listed: bool) -> dict[str, Any]:
    points = [
        {"id": point.id, "change": point.change, "fields": dict(point.fields), "vectors": list(point.vectors)}
        for point in found.points
    ]
    return {
        "presence": found.presence,
        **dataclasses.asdict(found.counts),
        **({"points": points, "cut": found.cut} if listed else {}),
        **({"by": {group: dataclasses.asdict(counts) for group, counts in found.by.items()}} if found.by else {}),
        "config_known": found.config_known,
        "config": {each.field: {"before": each.backup, "after": each.target} for each in found.config},
        "indexes": dict(found.indexes),
    }
