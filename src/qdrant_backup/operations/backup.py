"""`backup`: a dated, immutable set of everything on the server, published whole or not at all.

survey   what is there, and may we read it          looks only
plan     which collections, in which order, room?   pure
run      transfer, config, commit                   into a directory nobody else sees until it has its final name
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import msgspec

from qdrant_backup import __version__
from qdrant_backup.errors import ConfigFailed, InsufficientSpace, QdrantBackupError
from qdrant_backup.layout import RESTORE_TEXT, backup_id_at, digest_path, snapshot_path
from qdrant_backup.manifest import FORMAT, CollectionEntry, Manifest, ServerEntry, ShardEntry, Skipped
from qdrant_backup.model import human_size, utc_text
from qdrant_backup.operations.anomaly import compare_with_previous
from qdrant_backup.operations.capture import Found
from qdrant_backup.operations.config_files import NO_CONFIG, back_up_config, back_up_logs
from qdrant_backup.operations.copies import remove_left_behind
from qdrant_backup.operations.events import BackupBegun, Note, SpaceChecked, Warned
from qdrant_backup.operations.expiry import expire_safety
from qdrant_backup.operations.levels import remember
from qdrant_backup.operations.open_journal import refuse_open_journal
from qdrant_backup.operations.restore_text import restore_text
from qdrant_backup.operations.selection import select
from qdrant_backup.operations.takeover import tell_of_dead_run
from qdrant_backup.operations.transfer import Transfer
from qdrant_backup.storage.catalogue import Level
from qdrant_backup.storage.drills import scratch_on
from qdrant_backup.storage.files import free_bytes
from qdrant_backup.storage.lock import DirectoryLock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from qdrant_backup.model import CollectionName, ServerIdentity
    from qdrant_backup.operations.capture import Captured
    from qdrant_backup.operations.config_files import ConfigOutcome
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.transfer import Taken
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["BackupPlan", "BackupReport", "BackupRequest", "Facts", "back_up", "backup", "plan", "survey"]

SPACE_FACTOR = 2
SCOPED = (
    "the key is for some collections only: others, if there are any, are not in this backup, and neither are aliases, "
    "since the server shows it none"
)
Method = Literal["auto", "snapshot", "stream"]


@dataclasses.dataclass(frozen=True)
class BackupRequest:
    """What was asked for.

    Attributes:
        include: names or globs; none means all collections.
        exclude: names or globs that are left out.
        kind: `safety` for what a restore is about to replace.
        method: how archives leave the server; `auto` takes `snapshot`, and `stream` where its disk has no room.
        with_config: the installation's config files too.
        include_logs: its log files too.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    kind: Literal["full", "safety"] = "full"
    method: Method = "auto"
    with_config: bool = True
    include_logs: bool = False


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the survey found.

    Attributes:
        aliases: all of the server's.
        last_sizes: what each collection's snapshot took in the newest backup that has it.
        free_bytes: on the filesystem that will be written.
    """

    server: ServerIdentity
    found: tuple[Found, ...]
    aliases: Mapping[str, CollectionName]
    last_sizes: Mapping[str, int]
    free_bytes: int


@dataclasses.dataclass(frozen=True)
class BackupPlan:
    """What will be done: which collections, in this order, and how much they are thought to take."""

    server: ServerIdentity
    collections: tuple[Found, ...]
    aliases: Mapping[str, CollectionName]
    estimated_bytes: int
    free_bytes: int


@dataclasses.dataclass(frozen=True)
class BackupReport:
    """What was done.

    Attributes:
        backup: the published backup.
        config_error: set when the backup is whole but for config files that could not be read: print the report, then
            raise it.
        anomalies: what makes it look like a loss beside the backup before it.
    """

    backup: StoredBackup
    config_error: ConfigFailed | None = None
    anomalies: tuple[str, ...] = ()


def survey(request: BackupRequest, ports: Ports) -> Facts:
    """Look at the server and the disk, changing nothing.

    Raises:
        ConnectionFailed, NotQdrant, AccessDenied: the server cannot be reached, or will not let us.
        Incompatible: it is one of several peers.
        CollectionMissing: a collection was named that does not exist.
    """
    server = ports.server
    identity = server.identity()
    server.refuse_clusters()
    names = select(_ordinary(server.collections(), request, ports), request.include, request.exclude)
    server.probe(names, ("read", "snapshot"))
    found = tuple(_found(ports, name) for name in names)
    if identity.scoped:
        for each in found:
            server.refuse_shards_elsewhere(each.name, each.replicas)
    return Facts(identity, found, server.aliases(), _last_sizes(ports), free_bytes(ports.directory.root))


def _ordinary(listed: Sequence[CollectionName], request: BackupRequest, ports: Ports) -> Sequence[CollectionName]:
    """What is listed, without what a killed drill left: nobody wants that back who has not named it."""
    left = scratch_on(ports.server.url, ports.directory.root, ports.clock) & set(listed)
    if not left or request.include:
        return listed
    ports.tell(Note(f"{', '.join(sorted(left))}: left out, a killed drill left it; the next drill there removes it"))
    return [name for name in listed if name not in left]


def _found(ports: Ports, name: CollectionName) -> Found:
    info = ports.server.collection(name)
    return Found(info, ports.server.replicas(name), ports.server.estimated_bytes(name))


def _last_sizes(ports: Ports) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for backup in ports.directory.entries():
        for name, entry in backup.manifest.collections.items():
            sizes.setdefault(name, entry.size_bytes)
    return sizes


def plan(facts: Facts) -> BackupPlan:
    """Decide, touching nothing.

    Raises:
        InsufficientSpace: less than twice the estimate is free.
    """
    estimated = sum(max(found.estimated_bytes, facts.last_sizes.get(found.name, 0)) for found in facts.found)
    needed = SPACE_FACTOR * estimated
    if facts.free_bytes < needed:
        raise InsufficientSpace(
            "there is too little disk space for the backup",
            why=f"{human_size(facts.free_bytes)} are free, {human_size(needed)} are needed (twice the estimated size)",
        )
    names = {found.name for found in facts.found}
    aliases = {alias: name for alias, name in sorted(facts.aliases.items()) if name in names}
    return BackupPlan(facts.server, facts.found, aliases, estimated, facts.free_bytes)


def backup(request: BackupRequest, ports: Ports) -> BackupReport:
    """Make a backup: the whole of the `backup` command.

    Raises:
        Locked: another run is at work in the backup directory.
        QdrantBackupError: anything else; then nothing was published.
    """
    started = ports.clock.now()
    decided = plan(survey(request, ports))
    with DirectoryLock(ports.directory.root, ports.clock, "backup") as lock:
        ports.directory.sweep(lock)
        refuse_open_journal(ports, [found.name for found in decided.collections])
        tell_of_dead_run(ports, lock)
        remove_left_behind(ports)
        report = _carry_out(request, decided, started, ports)
        report = dataclasses.replace(report, anomalies=_anomalies(request, report.backup, ports))
        expire_safety(ports, lock, ports.safety_days)
        return report


def _anomalies(request: BackupRequest, published: StoredBackup, ports: Ports) -> tuple[str, ...]:
    # The backup stands, and so it must not look failed because it could not be compared.
    try:
        return compare_with_previous(ports, published, whole=not (request.include or request.exclude))
    except QdrantBackupError as error:
        ports.tell(Warned(f"the backup is complete, but was not compared with the one before it: {error}"))
        return ()


def back_up(request: BackupRequest, ports: Ports) -> BackupReport:
    """Make a backup in a directory that the caller has locked; raises as `backup` does."""
    started = ports.clock.now()
    return _carry_out(request, plan(survey(request, ports)), started, ports)


def _carry_out(request: BackupRequest, decided: BackupPlan, started: datetime, ports: Ports) -> BackupReport:
    with ports.directory.begin(backup_id_at(started), safety=request.kind == "safety") as partial:
        if request.kind == "full":
            ports.tell(BackupBegun(str(partial.final_path), *ports.address))
            ports.tell(SpaceChecked(decided.free_bytes))
        taken = Transfer(request.method, request.include, ports, partial).run(decided.collections)
        config = back_up_config(ports, partial) if request.with_config else NO_CONFIG
        appeared = () if request.include else _appeared(request, decided, ports)
        skipped = (
            *taken.skipped,
            *appeared,
            *config.skipped,
            *(back_up_logs(ports, partial) if request.include_logs else ()),
        )
        manifest = _manifest(request, decided, taken, config, ports)
        manifest = msgspec.structs.replace(
            manifest,
            **_dates(started, ports),
            skipped=list(skipped),
            warnings=_warnings(decided, taken, skipped),
        )
        partial.write(RESTORE_TEXT, restore_text(manifest).encode())
        published = partial.publish(manifest)
    _remember(ports, published, Level.CONTENT if taken.all_verified else Level.ARCHIVE)
    for warning in manifest.warnings:
        ports.tell(Warned(warning))
    return BackupReport(published, _config_error(published, config))


def _appeared(request: BackupRequest, decided: BackupPlan, ports: Ports) -> tuple[Skipped, ...]:
    """The collections that are there now and were not when the backup began."""
    known = {found.name for found in decided.collections}
    try:
        now = select(ports.server.collections(), (), request.exclude)
    except QdrantBackupError as error:
        # Everything that was there is here: a server that has gone since does not undo that.
        ports.tell(Warned(f"whether collections appeared while the backup ran is not known: {error}"))
        return ()
    reason = "it appeared while the backup ran; the next backup has it"
    return tuple(Skipped(what=f"collection {name}", reason=reason) for name in now if name not in known)


def _config_error(published: StoredBackup, config: ConfigOutcome) -> ConfigFailed | None:
    if not config.failures:
        return None
    return ConfigFailed(
        f"the backup {published.path} is complete but for {len(config.failures)} config file(s)",
        why="; ".join(config.failures),
        advice="Give this user the right to read them, then back up again.",
    )


def _remember(ports: Ports, published: StoredBackup, level: Level) -> None:
    # The backup stands. That a note about it could not be written must not make the run look failed.
    try:
        remember(ports, published, level)
    except QdrantBackupError as error:
        ports.tell(Warned(f"the backup is complete, but its level could not be noted: {error}"))


def _dates(started: datetime, ports: Ports) -> dict[str, str]:
    return {
        "backup_date": utc_text(started),
        "started_at": utc_text(started),
        "finished_at": utc_text(ports.clock.now()),
    }


def _manifest(
    request: BackupRequest, decided: BackupPlan, taken: Taken, config: ConfigOutcome, ports: Ports
) -> Manifest:
    host, port = ports.address
    server = decided.server
    return Manifest(
        backup_date="",
        format=FORMAT,
        tool_version=__version__,
        kind=request.kind,
        ai_memory_version=ports.installation.version(),
        qdrant_host=host,
        qdrant_port=port,
        server=ServerEntry(
            version=server.version, commit=server.commit, peer_id=server.peer_id, peers=list(server.peers)
        ),
        collections={captured.found.name: _entry(captured, created) for captured, created in taken.captured},
        aliases={alias: name for alias, name in decided.aliases.items() if name in taken.names},
        config_files=[entry.path for entry in config.entries],
        config=list(config.entries),
        includes_logs=request.include_logs,
    )


def _warnings(decided: BackupPlan, taken: Taken, skipped: tuple[Skipped, ...]) -> list[str]:
    unverified = [
        f"{captured.found.name}: content unverified ({captured.unverified})"
        for captured, _ in taken.captured
        if captured.unverified
    ]
    empty = [] if decided.collections else ["the server has no collections: this backup holds none"]
    scoped = [SCOPED] if decided.server.scoped else []
    return [*scoped, *empty, *unverified, *(f"{skip.what} is not in the backup: {skip.reason}" for skip in skipped)]


def _entry(captured: Captured, created_at: datetime) -> CollectionEntry:
    found, digested = captured.found, captured.digested
    summary = digested.summary if digested else None
    return CollectionEntry(
        name=found.name,
        records=captured.records,
        snapshot_file=snapshot_path(found.name).rpartition("/")[2],
        size_bytes=captured.size_bytes,
        created_at=utc_text(created_at),
        sha256=captured.sha256,
        points=summary.points if summary else None,
        content=summary.content if summary else "",
        digest_file=digest_path(found.name) if summary else "",
        unverified=captured.unverified,
        method=captured.method,
        shards=[
            ShardEntry(id=replica.shard_id, key=replica.key, peer_id=replica.peer_id, state=replica.state)
            for replica in found.replicas
        ],
        vector_names=list(summary.vector_names) if summary else [],
        config=found.info.config,
        payload_schema=found.info.payload_schema,
        not_finite=dict(digested.not_finite) if digested else {},
    )
