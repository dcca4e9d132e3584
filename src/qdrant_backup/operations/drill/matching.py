"""Whether a collection is what the manifest says. Pure: each function compares and gives a check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdrant_backup.operations.drill.report import Check, failed, passed, skipped, warned
from qdrant_backup.operations.restore.differences import differences, index_changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qdrant_backup.manifest import CollectionEntry, Manifest

__all__ = ["alias_check", "config_check", "count_check", "dangling_aliases", "index_check", "shard_check"]

_SHOWN = 5
_UNKNOWN = "the original scripts kept none to compare with"


def _some(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def count_check(entry: CollectionEntry, points: int) -> Check:
    """Whether it has as many points as the manifest says."""
    wanted = entry.records if entry.points is None else entry.points
    if points != wanted:
        return failed(entry.name, "counts", f"the manifest says {wanted} points, and {points} are there")
    return passed(entry.name, "counts", f"{points} points")


def config_check(entry: CollectionEntry, config: Mapping[str, Any]) -> Check:
    """Whether it has the manifest's configuration."""
    if not entry.config:
        return skipped(entry.name, "config", _UNKNOWN)
    found = differences(entry.config, config)
    if found:
        return failed(entry.name, "config", _some([str(difference) for difference in found]))
    return passed(entry.name, "config")


def index_check(entry: CollectionEntry, schema: Mapping[str, Any]) -> Check:
    """Whether it has the manifest's payload indexes; more of them are only odd."""
    if not entry.config:
        return skipped(entry.name, "indexes", _UNKNOWN)
    changes = index_changes(entry.payload_schema, schema)
    wrong = [f"{field} is missing" for field in changes.missing] + [
        f"{field} is another" for field in changes.different
    ]
    if wrong:
        return failed(entry.name, "indexes", _some(wrong))
    if changes.foreign:
        return warned(entry.name, "indexes", f"{', '.join(changes.foreign)} was not recorded")
    return passed(entry.name, "indexes", f"{len(entry.payload_schema)} payload indexes")


def shard_check(entry: CollectionEntry, shards: Sequence[int]) -> Check:
    """Whether its snapshot has data of the shards that the manifest names."""
    wanted = sorted(shard.id for shard in entry.shards)
    if not wanted:
        return skipped(entry.name, "shards", "none were recorded to compare with")
    if sorted(shards) != wanted:
        return failed(entry.name, "shards", f"the manifest names {wanted}, and {sorted(shards)} are there")
    return passed(entry.name, "shards", f"{len(wanted)} shards" if len(wanted) > 1 else "1 shard")


def alias_check(manifest: Manifest, name: str, served: Mapping[str, str]) -> Check:
    """Whether every alias of a collection leads to it."""
    wanted = sorted(alias for alias, collection in manifest.aliases.items() if collection == name)
    wrong = [alias for alias in wanted if served.get(alias) != name]
    if wrong:
        return failed(name, "aliases", f"{', '.join(wrong)} does not lead to it")
    return passed(name, "aliases", ", ".join(wanted) or "none were recorded")


def dangling_aliases(manifest: Manifest) -> Iterator[Check]:
    """A failed check for each alias of a collection that the backup does not hold."""
    for alias, name in manifest.aliases.items():
        if name not in manifest.collections:
            yield failed("", "aliases", f"{alias} leads to {name}, which the backup does not hold")
