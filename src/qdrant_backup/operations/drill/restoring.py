"""A drill on a server: each collection is restored as a restore would, into a scratch collection, compared, and removed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qdrant_backup.errors import BackupInvalid, CollectionFailed, InsufficientSpace, IntegrityFailed, ServerRefused
from qdrant_backup.operations.capture import lacks_space
from qdrant_backup.operations.copies import remove_left_behind
from qdrant_backup.operations.drill.golden import asked_again
from qdrant_backup.operations.drill.matching import count_check, shard_check
from qdrant_backup.operations.drill.report import Check, failed, passed, skipped, warned
from qdrant_backup.operations.drill.scratch import remove_scratch, scratch_collections, scratch_names, sweep_scratch
from qdrant_backup.operations.looking.opening import OpenedCollection
from qdrant_backup.operations.restore.applying import require_free_names, upload
from qdrant_backup.operations.restore.checks import mend_indexes, require_config, require_content
from qdrant_backup.operations.restore.live import wait_until_whole
from qdrant_backup.operations.restore.plan import refuse_blocked
from qdrant_backup.operations.restore.planning import plan
from qdrant_backup.operations.restore.requests import RestoreRequest
from qdrant_backup.operations.restore.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.restore.plan import Facts, TargetFacts
    from qdrant_backup.operations.restore.session import Session
    from qdrant_backup.storage.golden import GoldenQuery
    from qdrant_backup.storage.lock import DirectoryLock
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["restored_checks"]

_PROXY_LIMIT = 413


def restored_checks(
    backup: StoredBackup,
    names: Sequence[str],
    queries: Sequence[GoldenQuery],
    ports: Ports,
    lock: DirectoryLock,
) -> Iterator[Check]:
    """The checks of a backup's collections, as they are made.

    Args:
        backup: what is restored; every byte of it is read first.
        names: its collections that are drilled.
        queries: golden queries of any collection.
        ports: what to act through; its server gets the scratch collections.
        lock: the backup directory's, held.

    Raises:
        ConnectionFailed, NotQdrant, AccessDenied: the server.
        Incompatible: its version, or several peers; or a collection that no snapshot can recreate.
        InsufficientSpace: its disk is full.
        RefusedForSafety: an earlier restore has not ended, or a scratch name has appeared meanwhile.
    """
    scratch = scratch_names(ports, names)
    try:
        facts = _surveyed(backup, names, scratch, ports)
    except (IntegrityFailed, BackupInvalid) as error:
        yield failed("", "files", str(error))
        return
    decided = plan(facts)
    refuse_blocked(decided)
    yield passed("", "files", f"{len(backup.expected_files())} files")
    if decided.version.verdict == "unknown":
        yield warned("", "restore", f"whether the server's version fits cannot be told: {decided.version.text}")
    remove_left_behind(ports)
    sweep_scratch(ports, lock)
    with scratch_collections(ports, lock, facts) as session:
        for each in facts.targets:
            own = [query for query in queries if query.collection == each.archive.name]
            yield from _target(session, each, own)
            remove_scratch(session, each.target)


def _surveyed(backup: StoredBackup, names: Sequence[str], scratch: dict[str, str], ports: Ports) -> Facts:
    request = RestoreRequest(
        str(backup.path),
        collections=tuple(names),
        rename={name: scratch[name] for name in names},
        no_safety=True,
        allow_unverified=True,
    )
    return survey(request, ports)


def _target(session: Session, each: TargetFacts, queries: Sequence[GoldenQuery]) -> Iterator[Check]:
    archive, name, ports = each.archive, each.target, session.ports
    restored = _asserted(archive.name, "restore", lambda: _restore(session, each))
    yield restored
    if restored != passed(archive.name, "restore", restored.detail):
        return
    yield _asserted(
        archive.name,
        "indexes",
        lambda: mend_indexes(session, name, archive.payload_schema, known=archive.payload_schema, exactly=True),
    )
    yield _asserted(archive.name, "config", lambda: require_config(session, name, archive.config))
    yield _content_check(session, each)
    yield count_check(archive.entry, ports.server.count(name))
    yield shard_check(archive.entry, sorted({replica.shard_id for replica in ports.server.replicas(name)}))
    aliases = [alias for alias, held in archive.backup.manifest.aliases.items() if held == archive.name]
    if aliases:
        yield skipped(archive.name, "aliases", f"a drill on a server moves none ({', '.join(aliases)})")
    if queries:
        with tempfile.TemporaryDirectory(prefix="qdrant-backup-drill-") as directory:
            collection = OpenedCollection(name, archive.entry, archive.backup, Path(directory))
            yield from asked_again(ports.server, collection, queries, ports.progress)


def _restore(session: Session, each: TargetFacts) -> None:
    require_free_names(session.ports, each.target, existed=False)
    upload(session, each.target, each.archive)
    wait_until_whole(session.ports, each.target)


def _asserted(collection: str, check: str, act: Callable[[], object]) -> Check:
    """What a restore's own step makes of it: its failure is a failed check, a full disk or a proxy's limit is none."""
    try:
        act()
    except CollectionFailed as error:
        return failed(collection, check, error.why or error.what)
    except ServerRefused as error:
        if lacks_space(error):
            raise InsufficientSpace(
                f"The server has no room for a drill of {collection}",
                why=error.why,
                advice="Free up space on the server, or drill on another one.",
            ) from error
        if error.status == _PROXY_LIMIT:
            raise
        return failed(collection, check, str(error))
    return passed(collection, check)


def _content_check(session: Session, each: TargetFacts) -> Check:
    archive, ports = each.archive, session.ports
    try:
        judged = require_content(ports, each.target, archive)
    except CollectionFailed as error:
        return failed(archive.name, "digest", error.why or error.what)
    if judged.unverified:
        return warned(archive.name, "digest", f"the points were counted and not compared: {judged.unverified}")
    anew = "" if archive.entry.content else "; the backup holds none, its archive's was computed anew"
    return passed(
        archive.name, "digest", f"restored and read back: {judged.points} points, {judged.content[:16]}{anew}"
    )
