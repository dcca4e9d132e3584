"""`restore`: plan, safety, journal, apply, verify, commit; or everything put back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qdrant_backup.errors import Incompatible, RefusedForSafety
from qdrant_backup.layout import backup_id_at
from qdrant_backup.operations.copies import remove_left_behind
from qdrant_backup.operations.events import Warned
from qdrant_backup.operations.open_journal import refuse_open_journal
from qdrant_backup.operations.restore.aliases import move_aliases
from qdrant_backup.operations.restore.checks import same_config
from qdrant_backup.operations.restore.config_files import plan_config, restore_config
from qdrant_backup.operations.restore.forward import apply_all
from qdrant_backup.operations.restore.live import fingerprint, look
from qdrant_backup.operations.restore.outcome import Outcome, RestoreReport, TargetReport
from qdrant_backup.operations.restore.plan import refuse_blocked
from qdrant_backup.operations.restore.planning import plan
from qdrant_backup.operations.restore.rollback import OrRollBack
from qdrant_backup.operations.restore.safety import require_judged, take_safety
from qdrant_backup.operations.restore.session import Session
from qdrant_backup.operations.restore.survey import survey
from qdrant_backup.storage.journal import Journal, JournalFile, Prior, RestoreKind, Target, TargetState
from qdrant_backup.storage.lock import DirectoryLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qdrant_backup.errors import ConfigFailed
    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.restore.plan import Facts, RestorePlan, TargetFacts
    from qdrant_backup.operations.restore.requests import RestoreRequest
    from qdrant_backup.operations.restore.safety import SafetyCopy
    from qdrant_backup.operations.restore.source import Archive

__all__ = ["prepare", "report_of", "restore", "run"]


def prepare(request: RestoreRequest, ports: Ports) -> tuple[Facts, RestorePlan]:
    """Survey and plan, config files included; changes nothing. Raises as `survey`."""
    facts = survey(request, ports)
    if request.restore_config:
        facts = dataclasses.replace(facts, config_files=plan_config(facts.source.backup, ports))
    return facts, plan(facts)


def restore(request: RestoreRequest, ports: Ports, confirm: Callable[[RestorePlan], bool]) -> RestoreReport:
    """Restore a backup, or put everything back.

    Args:
        request: what is asked for.
        ports: what to act through.
        confirm: shown the plan, once, when nothing stands in its way; False declines it.

    Raises:
        RefusedForSafety: a safety rule stands in the way, or the plan was declined.
        CollectionFailed: the restore failed; every target's outcome is in `outcomes`.
        QdrantBackupError: as `survey` and `run`.
    """
    facts, decided = prepare(request, ports)
    refuse_blocked(decided)
    if not confirm(decided):
        raise RefusedForSafety(
            "Nothing was restored", why="the plan was not confirmed", advice="Confirm it, or use --force."
        )
    return run(decided, facts, ports)


def run(decided: RestorePlan, facts: Facts, ports: Ports) -> RestoreReport:
    """Carry a plan out; see `restore`."""
    refuse_blocked(decided)
    for warning in decided.warnings:
        ports.tell(Warned(warning))
    with DirectoryLock(ports.directory.root, ports.clock, "restore") as lock:
        refuse_open_journal(ports)
        ports.directory.sweep(lock)
        remove_left_behind(ports)
        session, warnings = _begin(decided, facts, ports, lock)
        archives = {archive.name: archive for archive in facts.source.archives.values()}
        with OrRollBack(session, "The restore"):
            apply_all(session, archives)
            move_aliases(session)
        session.commit()
        config_files, failure = _config(facts, ports)
        return report_of(session, archives, (*decided.warnings, *warnings), config_files, failure)


def _config(facts: Facts, ports: Ports) -> tuple[tuple[str, ...], ConfigFailed | None]:
    if not facts.request.restore_config:
        return (), None
    return restore_config(facts.source.backup, ports)


def _begin(decided: RestorePlan, facts: Facts, ports: Ports, lock: DirectoryLock) -> tuple[Session, tuple[str, ...]]:
    """The safety copy, then the journal; until here nothing was touched."""
    request = facts.request
    _require_as_surveyed(facts, ports)
    existing = [each.target for each in facts.targets if each.live.exists]
    safety: SafetyCopy | None = None
    warnings: tuple[str, ...] = ()
    if existing and not request.no_safety:
        safety = take_safety(ports, lock, existing, allow_writers=request.allow_writers)
        warnings = require_judged(safety.backup, allow_unverified=request.allow_unverified)
    for warning in warnings:
        ports.tell(Warned(warning))
    started = ports.clock.now()
    backup = facts.source.backup
    journal = Journal(
        restore_id=f"{backup_id_at(started)}-{ports.token()[:8]}",
        kind=RestoreKind.RESTORE,
        server=facts.server,
        backup_id=backup.backup_id,
        backup_path=str(backup.path),
        manifest_sha256=backup.manifest_sha256,
        started_at=started,
        targets=tuple(_target(ports, each, safety, replace=request.replace) for each in facts.targets),
        safety_id=safety.backup.backup_id if safety else None,
        safety_path=str(safety.backup.path) if safety else "",
        aliases_before={alias: str(collection) for alias, collection in ports.server.aliases().items()},
        aliases_planned={each.alias: each.target for each in decided.aliases},
        options={
            "allow_writers": request.allow_writers,
            "allow_unverified": request.allow_unverified,
            "no_safety": request.no_safety,
        },
    )
    return Session(ports, lock, JournalFile(ports.directory.root, ports.clock).begin(journal)), warnings


def _require_as_surveyed(facts: Facts, ports: Ports) -> None:
    """Between survey and lock somebody may have confirmed at leisure; what was decided on must still be true."""
    facts.source.backup.require_still_there()
    for each in facts.targets:
        now = look(ports, each.target)
        before = each.live
        if now.exists != before.exists or bool(now.info) != bool(before.info):
            what = "appeared" if now.exists else "vanished or broke"
            raise RefusedForSafety(
                f"{each.target} has {what} since the plan was made",
                why="somebody else works on this server",
                advice="Nothing was changed. Run the restore again.",
                collection=each.target,
            )
        if now.info and before.info and not same_config(now.info.config, before.info.config):
            raise Incompatible(
                f"The config of {each.target} was changed since the plan was made",
                why="somebody else works on this server",
                advice="Nothing was changed. Run the restore again.",
                collection=each.target,
            )


def _target(ports: Ports, each: TargetFacts, safety: SafetyCopy | None, *, replace: bool) -> Target:
    return Target(
        collection=each.target,
        source=each.archive.name,
        prior=prior_of(ports, each.target, safety),
        state=TargetState.SAFE if safety else TargetState.PENDING,
        replace=replace,
        content_expected=each.archive.content,
    )


def prior_of(ports: Ports, name: CollectionName, safety: SafetyCopy | None) -> Prior:
    """What stands there now, in the form that a roll-back needs."""
    now = look(ports, name)
    if not now.exists:
        return Prior(existed=False)
    entry = safety.backup.manifest.collections.get(name) if safety else None
    if safety is None or entry is None:
        info = now.info
        return Prior(
            existed=True,
            config=info.config if info else None,
            payload_schema=info.payload_schema if info else None,
            versions=fingerprint(ports, name),
        )
    return Prior(
        existed=True,
        config=entry.config,
        payload_schema=entry.payload_schema,
        content=entry.content,
        points=entry.points,
        versions=safety.versions.get(name),
        snapshot_sha256=entry.sha256,  # pyright: ignore[reportArgumentType] - our own manifest's SHA-256
    )


def report_of(
    session: Session,
    archives: Mapping[CollectionName, Archive],
    warnings: tuple[str, ...] = (),
    config_files: tuple[str, ...] = (),
    failure: ConfigFailed | None = None,
) -> RestoreReport:
    """The report of a restore whose every target is verified."""
    journal = session.journal
    return RestoreReport(
        restore_id=journal.restore_id,
        backup_path=journal.backup_path,
        targets=tuple(
            TargetReport(
                target=target.collection,
                source=target.source,
                outcome=Outcome.NEW,
                records=archives[target.source].records,
                unverified=target.note,
                note=f"changes by others are kept in the safety backup {target.displaced_id}"
                if target.displaced_id
                else "",
            )
            for target in journal.targets
        ),
        aliases=tuple(journal.aliases_planned.items()),
        safety_path=journal.safety_path,
        config_files=config_files,
        config_failure=failure,
        warnings=warnings,
    )
