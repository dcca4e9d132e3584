"""The plan of a restore, decided from facts without touching anything. It prints, and it is what --dry-run --json shows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup import errors
from qdrant_backup.model import CollectionName, human_size
from qdrant_backup.operations.restore.blocking import blockers_of
from qdrant_backup.operations.restore.differences import (
    Difference,
    IndexChanges,
    VersionVerdict,
    differences,
    index_changes,
    version_verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qdrant_backup.errors import QdrantBackupError
    from qdrant_backup.operations.restore.live import Live
    from qdrant_backup.operations.restore.requests import RestoreRequest
    from qdrant_backup.operations.restore.source import Archive, Source
    from qdrant_backup.storage.journal import JournalServer

__all__ = [
    "AliasPlan",
    "Blocker",
    "ConfigFilePlan",
    "Facts",
    "RestorePlan",
    "TargetFacts",
    "TargetPlan",
    "plan",
    "plan_lines",
    "refuse_blocked",
    "to_json",
]


@dataclasses.dataclass(frozen=True)
class TargetFacts:
    """One collection of the backup, and what stands where it is to go."""

    archive: Archive
    target: CollectionName
    live: Live
    estimated_bytes: int = 0


class ConfigFilePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A config file to put back.

    Attributes:
        name: below the backup's `config/`.
        path: where it goes.
        action: `create`, `replace` or `same`.
        difference: a unified diff from the installed file to the backup's, secrets masked; empty when there is none.
    """

    name: str
    path: str
    action: str
    difference: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the survey found: a verified backup, and the server as it stands."""

    request: RestoreRequest
    source: Source
    server: JournalServer
    targets: tuple[TargetFacts, ...]
    collections: frozenset[CollectionName]
    aliases: Mapping[str, CollectionName]
    free_bytes: int
    config_files: tuple[ConfigFilePlan, ...] = ()


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """Something that keeps the plan from being run.

    Attributes:
        error: the class in `errors.py`, which owns the exit code.
        message, why, advice: the three parts of what the user reads.
        collection: the target it concerns, where it concerns one.
    """

    error: str
    message: str
    why: str
    advice: str
    code: int
    collection: str | None = None

    def to_error(self) -> QdrantBackupError:
        """The error it stands for."""
        kind: type[QdrantBackupError] = getattr(errors, self.error)
        return kind(self.message, why=self.why, advice=self.advice, stage="plan", collection=self.collection)


class TargetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What will happen to one collection of the server.

    Attributes:
        source: its name in the backup.
        target: its name on the server.
        exists: whether it is there now.
        action: `create`; `overwrite` (the points become the backup's, config stays the target's own); `replace` (dropped
            and recreated from the backup, config and all).
        records: points in the backup.
        size_bytes: the archive.
        live_records: points that are there now, as the server counts them; null when it does not exist or is broken.
        content_verified: whether the engine has read every point of the archive; `unverified` says why not.
        differences: of the configs; with `overwrite`, the target keeps its own values.
        indexes: payload indexes that will be created, changed, or (with `overwrite`) left although the backup has none.
    """

    source: str
    target: str
    exists: bool
    action: str
    records: int
    size_bytes: int
    live_records: int | None
    content_verified: bool
    unverified: str
    differences: tuple[Difference, ...] = ()
    indexes: IndexChanges = IndexChanges()


class AliasPlan(msgspec.Struct, frozen=True, kw_only=True):
    """An alias that will point at a restored collection; `previously` is where it points now, null for nowhere."""

    alias: str
    target: str
    previously: str | None


class RestorePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A restore before anything happens.

    Attributes:
        backup_path, backup_id, backup_date: what is restored.
        by_original_scripts: the guide's original scripts made it: no checksums, so the engine has read its archives now.
        server: the URL, without secrets; `server_version` is what runs there.
        version: whether the server may take the backup.
        targets: in the order they are restored.
        aliases: those that move, after all targets are verified.
        config_files: with --restore-config.
        safety: the targets that are backed up first; `safety_bytes` is about what that takes.
        warnings: what is allowed and should be known.
        blockers: what keeps the plan from being run; empty when nothing does.
        format: of this document.
    """

    backup_path: str
    backup_id: str
    backup_date: str
    by_original_scripts: bool
    server: str
    server_version: str
    version: VersionVerdict
    targets: tuple[TargetPlan, ...]
    aliases: tuple[AliasPlan, ...] = ()
    config_files: tuple[ConfigFilePlan, ...] = ()
    safety: tuple[str, ...] = ()
    safety_bytes: int = 0
    warnings: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    format: int = 1

    @property
    def records(self) -> int:
        """Points that the backup brings."""
        return sum(target.records for target in self.targets)


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


def refuse_blocked(decided: RestorePlan) -> None:
    """Go on only with a plan that can be run; raises the first blocker otherwise."""
    if decided.blockers:
        raise decided.blockers[0].to_error()


def to_json(decided: RestorePlan) -> bytes:
    """The plan as indented JSON, the document of `restore --dry-run --json`."""
    return msgspec.json.format(msgspec.json.encode(decided), indent=2) + b"\n"


def plan_lines(decided: RestorePlan) -> list[str]:
    """The plan for people, a line each, indented by two."""
    lines = [
        f"Backup {decided.backup_path} ({decided.backup_date})",
        f"Server {decided.server} ({decided.server_version})",
    ]
    for target in decided.targets:
        lines += _target_lines(target)
    lines += [
        f"  alias {alias.alias} -> {alias.target}" + (f" (now {alias.previously})" if alias.previously else "")
        for alias in decided.aliases
    ]
    lines += [f"  config {file.name}: {file.action} {file.path}" for file in decided.config_files]
    if decided.safety:
        lines.append(
            f"  first a safety backup of {', '.join(decided.safety)} (about {human_size(decided.safety_bytes)})"
        )
    lines += [f"  note: {warning}" for warning in decided.warnings]
    lines += [f"  in the way: {blocker.message}: {blocker.why}. {blocker.advice}" for blocker in decided.blockers]
    return lines


_VERBS: dict[str, str] = {
    "create": "create {target} with {records} records ({size})",
    "overwrite": "overwrite {target}, which has {live} records, with {records} records ({size})",
    "replace": "drop {target}, which has {live} records, and recreate it with {records} records ({size})",
}


def _target_lines(target: TargetPlan) -> list[str]:
    live: Any = "unreadable" if target.live_records is None else target.live_records
    size = human_size(target.size_bytes)
    line = "  " + _VERBS[target.action].format(target=target.target, records=target.records, live=live, size=size)
    if target.source != target.target:
        line += f", from {target.source}"
    lines = [line]
    keeps = "" if target.action == "replace" else " (the server's is kept)"
    lines += [f"    {difference}{'' if difference.blocking else keeps}" for difference in target.differences]
    if target.action == "overwrite":
        lines += [f"    payload index {field}: will be created" for field in target.indexes.missing]
        lines += [
            f"    payload index {field}: will be recreated as in the backup" for field in target.indexes.different
        ]
        lines += [f"    payload index {field}: not in the backup, is kept" for field in target.indexes.foreign]
    return lines
