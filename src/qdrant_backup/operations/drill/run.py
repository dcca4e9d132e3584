"""`drill`: proves that a backup can be restored, in the embedded engine or on a server, and remembers the outcome."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qdrant_backup.model import CollectionName
from qdrant_backup.operations.drill.embedded import collection_checks, file_check
from qdrant_backup.operations.drill.matching import dangling_aliases
from qdrant_backup.operations.drill.report import Check, DrillReport, Outcome, skipped
from qdrant_backup.operations.drill.restoring import restored_checks
from qdrant_backup.operations.events import Note
from qdrant_backup.operations.levels import try_to_remember
from qdrant_backup.operations.looking.opening import named_entry
from qdrant_backup.operations.open_journal import refuse_open_journal
from qdrant_backup.operations.restore.source import narrowed
from qdrant_backup.operations.selection import in_order
from qdrant_backup.storage.catalogue import Level
from qdrant_backup.storage.golden import GoldenFile
from qdrant_backup.storage.lock import DirectoryLock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.golden import GoldenQuery
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["drill"]


def drill(
    backup: StoredBackup,
    ports: Ports,
    *,
    collections: Sequence[str] = (),
    on_server: bool = False,
    found: Callable[[Check], object] = lambda _: None,
) -> DrillReport:
    """Open or restore a backup, assert all that is known of it, and note the outcome in the catalogue.

    A drill that is interrupted, or whose server fails, notes nothing. One of a part of the collections notes only a
    failure.

    Args:
        backup: the backup; it is only read.
        ports: what to act through.
        collections: names (or aliases) of its collections; all when empty.
        on_server: restore into scratch collections of the ports' server, and remove them, instead of opening it here.
        found: given each check as it is made.

    Raises:
        CollectionMissing: the backup has no collection of that name.
        IntegrityFailed: the golden queries are damaged. Damage of the backup is not raised, it is in the report.
        Locked: on a server, another run is at work in the backup directory.
        QdrantBackupError: on a server, as `restored_checks`.
    """
    names = _chosen(backup, collections)
    golden = GoldenFile(ports.directory.root).read().queries
    queries = [query for query in golden if not collections or query.collection in names]
    checks: list[Check] = []
    # Closed in any case: a drill on a server removes what it made there when its checks are closed.
    with contextlib.closing(_checks(backup, names, queries, ports, on_server=on_server)) as made:
        for check in made:
            checks.append(check)
            found(check)
    whole = len(names) == len(backup.manifest.collections)
    report = DrillReport(backup, ports.server.url if on_server else "", tuple(checks), whole)
    _note(report, ports)
    return report


def _chosen(backup: StoredBackup, wanted: Sequence[str]) -> tuple[CollectionName, ...]:
    names = wanted or backup.manifest.collections
    return in_order(CollectionName(named_entry(backup, name).name) for name in names)


def _checks(
    backup: StoredBackup,
    names: Sequence[CollectionName],
    queries: Sequence[GoldenQuery],
    ports: Ports,
    *,
    on_server: bool,
) -> Generator[Check]:
    if on_server:
        with DirectoryLock(ports.directory.root, ports.clock, "drill") as lock:
            refuse_open_journal(ports)
            yield from restored_checks(backup, names, queries, ports, lock)
    else:
        yield from _embedded_checks(backup, names, queries, ports)
    yield from dangling_aliases(backup.manifest)
    for query in queries:
        if query.collection not in backup.manifest.collections:
            detail = f"{query.id} {query.question}: the backup has no such collection"
            yield skipped(query.collection, "golden", detail)


def _embedded_checks(
    backup: StoredBackup, names: Sequence[CollectionName], queries: Sequence[GoldenQuery], ports: Ports
) -> Generator[Check]:
    files = file_check(narrowed(backup, names), ports)
    yield files
    if files.outcome is Outcome.FAILED:
        return
    for name in names:
        own = [query for query in queries if query.collection == name]
        yield from collection_checks(backup, backup.manifest.collections[name], own, ports)


def _note(report: DrillReport, ports: Ports) -> None:
    """What the catalogue learns: damage as `verify` notes it; a failure of the drill alone leaves the lower levels."""
    backup = report.backup
    if report.is_damaged:
        try_to_remember(ports, backup, Level.FILES, failed=report.failures[0].detail)
        return
    if not report.whole and report.passed:
        ports.tell(Note(f"not noted as a proof of {backup.backup_id}: only some of its collections were drilled"))
        return
    if report.level is not None and report.whole:
        open_questions = "; ".join(check.detail for check in report.checks if check.outcome is Outcome.WARNED)
        server = report.server if report.passed else ""
        try_to_remember(ports, backup, report.level, note=open_questions, server=server)
    if report.failures:
        failure = report.failures[0]
        try_to_remember(ports, backup, Level.DRILL, failed=f"{failure.name}: {failure.detail}", server=report.server)
