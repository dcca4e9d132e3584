"""Decides the plan of a restore from facts, without touching anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qdrant_backup.model import CollectionName
from qdrant_backup.operations.restore.blocking import blockers_of
from qdrant_backup.operations.restore.differences import (
    VersionVerdict,
    differences,
    index_changes,
    version_verdict,
)
from qdrant_backup.operations.restore.plan import AliasPlan, Blocker, RestorePlan, TargetPlan

if TYPE_CHECKING:
    from qdrant_backup.operations.restore.plan import Facts, TargetFacts
    from qdrant_backup.operations.restore.requests import RestoreRequest

__all__ = ["plan"]


def plan(facts: Facts) -> RestorePlan:
    """Decide; nothing is raised, what stands in the way is in `blockers`."""
    request, backup = facts.request, facts.source.backup
    made_with = backup.manifest.server.version if backup.manifest.server else ""
    version = version_verdict(made_with, facts.server.version)
    aliases, alias_warnings = _aliases(facts)
    safety = () if request.no_safety else tuple(each.target for each in facts.targets if each.live.exists)
    decided = RestorePlan(
        backup_path=str(backup.path),
        backup_id=backup.backup_id,
        backup_date=backup.manifest.backup_date,
        by_original_scripts=backup.manifest.by_original_scripts,
        server=facts.server.url,
        server_version=facts.server.version,
        version=version,
        targets=tuple(_target(each, request) for each in facts.targets),
        aliases=aliases,
        config_files=facts.config_files,
        safety=safety,
        safety_bytes=sum(each.estimated_bytes for each in facts.targets if each.target in safety),
        warnings=(*_warnings(facts, version), *alias_warnings),
    )
    found = tuple(
        Blocker(
            error=type(error).__name__,
            message=error.what,
            why=error.why,
            advice=error.advice,
            code=type(error).codes.restore,
            collection=error.collection,
        )
        for error in blockers_of(facts, decided)
    )
    return msgspec.structs.replace(decided, blockers=found)


def _target(each: TargetFacts, request: RestoreRequest) -> TargetPlan:
    archive, info = each.archive, each.live.info
    action = ("replace" if request.replace else "overwrite") if each.live.exists else "create"
    return TargetPlan(
        source=archive.name,
        target=each.target,
        exists=each.live.exists,
        action=action,
        records=archive.records,
        size_bytes=archive.size_bytes,
        live_records=info.points_count if info is not None else None,
        content_verified=bool(archive.content),
        unverified=archive.unverified,
        differences=differences(archive.config, info.config) if info is not None else (),
        indexes=index_changes(archive.payload_schema, info.payload_schema if info is not None else {}),
    )


def _aliases(facts: Facts) -> tuple[tuple[AliasPlan, ...], tuple[str, ...]]:
    """The backup's aliases of restored collections; and those that a dropped target would lose."""
    moves: dict[str, CollectionName] = {}
    warnings: list[str] = []
    by_source = {each.archive.name: each for each in facts.targets}
    for alias, source in facts.source.backup.manifest.aliases.items():
        each = by_source.get(CollectionName(source))
        if each is None:
            continue
        if each.target != each.archive.name and (alias in facts.aliases or alias in facts.collections):
            warnings.append(f"the alias {alias} stays where it is, since {source} is restored under another name")
        else:
            moves[alias] = each.target
    dropped = {each.target for each in facts.targets if each.live.exists and facts.request.replace}
    for alias, collection in facts.aliases.items():
        if collection in dropped:
            moves.setdefault(alias, collection)
    planned = tuple(
        AliasPlan(alias=alias, target=target, previously=facts.aliases.get(alias))
        for alias, target in sorted(moves.items())
        if facts.aliases.get(alias) != target or target in dropped
    )
    return planned, tuple(warnings)


def _warnings(facts: Facts, version: VersionVerdict) -> list[str]:
    request = facts.request
    warnings: list[str] = []
    if version.verdict == "unknown":
        warnings.append(f"whether the server's version fits cannot be told: {version.text}")
    if version.verdict == "unfit" and request.allow_version:
        warnings.append(f"restored in spite of the versions (--allow-version): {version.text}")
    warnings += [
        f"{each.archive.name}: the backup's content is unverified ({each.archive.unverified})"
        for each in facts.targets
        if not each.archive.content
    ]
    existing = [each.target for each in facts.targets if each.live.exists]
    if request.no_safety and existing:
        warnings.append(f"no safety backup (--no-safety): what {', '.join(existing)} holds now cannot be brought back")
    if request.allow_writers:
        warnings.append("writes during the restore are lost (--allow-writers)")
    return warnings
