"""The plan of a restore, and the facts that it is decided from: values. It prints, and is what --dry-run --json shows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup import errors
from qdrant_backup.model import CollectionName, human_size
from qdrant_backup.operations.restore.differences import Difference, IndexChanges, VersionVerdict

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
