"""What keeps a restore from beginning. Pure: each rule looks at the facts and gives the error it stands for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from qdrant_backup.errors import Incompatible, InsufficientSpace, QdrantBackupError, RefusedForSafety
from qdrant_backup.model import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qdrant_backup.operations.restore.plan import Facts, RestorePlan, TargetFacts, TargetPlan

__all__ = ["blockers_of"]

SPACE_FACTOR = 2
_SHOWN = 5


def blockers_of(facts: Facts, plan: RestorePlan) -> Iterator[QdrantBackupError]:
    """Everything that stands in the way, the gravest first."""
    yield from _names(facts, plan)
    yield from _version(facts, plan)
    for each, target in zip(facts.targets, plan.targets, strict=True):
        yield from _config(facts, each, target)
        yield from _readable(facts, each)
    yield from _space(facts, plan)


def _names(facts: Facts, plan: RestorePlan) -> Iterator[QdrantBackupError]:
    counted = Counter(each.target for each in facts.targets)
    for target, times in counted.items():
        if times > 1:
            sources = ", ".join(each.archive.name for each in facts.targets if each.target == target)
            yield RefusedForSafety(
                f"{times} collections would be restored to {target}",
                why=f"{sources}: each would replace the one before",
                advice="Give each its own name with --rename.",
                collection=target,
            )
        behind = facts.aliases.get(target)
        if behind is not None:
            yield RefusedForSafety(
                f"{target} is an alias of {behind} on the server",
                why="restoring to an alias would replace the collection behind it",
                advice=f"Restore under another name with --rename, or remove the alias {target} first.",
                collection=target,
            )
    taken = facts.collections | counted.keys()
    for alias in plan.aliases:
        if alias.alias in taken:
            yield RefusedForSafety(
                f"The backup's alias {alias.alias} has the name of a collection",
                why="an alias and a collection cannot share a name",
                advice="Remove or rename that collection, or leave the alias's collection out with --collection.",
                collection=alias.target,
            )


def _version(facts: Facts, plan: RestorePlan) -> Iterator[QdrantBackupError]:
    if plan.version.verdict == "unfit" and not facts.request.allow_version:
        yield Incompatible(
            f"The backup does not fit Qdrant {plan.server_version}",
            why=f"{plan.version.text}; snapshots restore on the same or the next minor version",
            advice="Restore on a fitting version and upgrade step by step, or try it with --allow-version.",
        )


def _config(facts: Facts, each: TargetFacts, target: TargetPlan) -> Iterator[QdrantBackupError]:
    blocking = [str(difference) for difference in target.differences if difference.blocking]
    if blocking and not facts.request.replace:
        more = f"; and {len(blocking) - _SHOWN} more" if len(blocking) > _SHOWN else ""
        yield Incompatible(
            f"{each.target} is another kind of collection than the backup's",
            why="; ".join(blocking[:_SHOWN]) + more,
            advice="Drop and recreate it from the backup with --replace, or restore beside it with --rename.",
            collection=each.target,
        )
    params: Mapping[str, Any] = each.archive.config.get("params") or {}
    custom = params.get("sharding_method") == "custom"
    if custom and target.action != "overwrite":
        yield Incompatible(
            f"{each.archive.name} has custom shard keys and cannot be recreated from its snapshot",
            why="Qdrant answers such an upload with success and restores nothing",
            advice="Create the collection with its shard keys first, then restore over it.",
            collection=each.target,
        )


def _readable(facts: Facts, each: TargetFacts) -> Iterator[QdrantBackupError]:
    request = facts.request
    if each.live.broken and not request.no_safety:
        yield RefusedForSafety(
            f"{each.target} is broken on the server and cannot be copied first",
            why=each.live.broken,
            advice="If what is left of it may be lost, restore with --no-safety.",
            collection=each.target,
        )
    if not each.archive.content and not request.allow_unverified:
        yield RefusedForSafety(
            f"The content of {each.archive.name} in the backup could not be verified",
            why=each.archive.unverified or "the engine cannot open it",
            advice="Allow it with --allow-unverified: the archive's bytes are checked, its points are not.",
            collection=each.target,
        )


def _space(facts: Facts, plan: RestorePlan) -> Iterator[QdrantBackupError]:
    needed = SPACE_FACTOR * plan.safety_bytes
    if needed > facts.free_bytes:
        yield InsufficientSpace(
            "There is too little disk space for the safety backup",
            why=f"{human_size(facts.free_bytes)} are free, {human_size(needed)} are needed (twice the estimated size)",
            advice="Free up space, write to a larger volume with --output, or restore with --no-safety.",
        )
