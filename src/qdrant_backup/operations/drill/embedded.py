"""A drill in the embedded engine: the archives are read anew, opened, and compared with all that the manifest says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qdrant_backup.digest import MAGIC
from qdrant_backup.errors import ContentUnreadable, IntegrityFailed
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.drill.golden import asked_again
from qdrant_backup.operations.drill.matching import (
    alias_check,
    config_check,
    count_check,
    index_check,
    shard_check,
)
from qdrant_backup.operations.drill.report import Check, failed, passed, skipped
from qdrant_backup.operations.looking.opening import open_backups
from qdrant_backup.operations.verify import digested_anew, held_digest
from qdrant_backup.storage.verify import check_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qdrant_backup.manifest import CollectionEntry
    from qdrant_backup.model import DigestSummary
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.golden import GoldenQuery
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["collection_checks", "file_check"]

_VERSION_AT = -1
_SHOWN = 5


def file_check(backup: StoredBackup, ports: Ports) -> Check:
    """Whether every byte is what it must be."""
    damage = [str(finding) for finding in check_files(backup, ports.progress) if finding.is_damage]
    if not damage:
        return passed("", "files", f"{len(backup.expected_files())} files")
    more = f"; and {len(damage) - _SHOWN} more" if len(damage) > _SHOWN else ""
    return failed("", "files", "; ".join(damage[:_SHOWN]) + more)


def collection_checks(
    backup: StoredBackup, entry: CollectionEntry, queries: Sequence[GoldenQuery], ports: Ports
) -> Iterator[Check]:
    """The checks of one collection, as they are made; those after one that leaves nothing to look at are left out.

    Raises:
        InsufficientSpace, NotWritable: there is no room to open it.
    """
    name = CollectionName(entry.name)
    try:
        with tempfile.TemporaryDirectory(prefix="qdrant-backup-drill-") as scratch:
            digested = digested_anew(backup, entry, Path(scratch) / "digest", ports)
        yield _digest_check(backup, entry, digested.summary)
        yield shard_check(entry, digested.report.shards_with_data)
        with open_backups(ports, [(backup, [name])]) as opened:
            server, info = opened.server, opened.server.collection(name)
            yield passed(name, "open")
            yield count_check(entry, server.count(name))
            yield config_check(entry, info.config)
            yield index_check(entry, info.payload_schema)
            yield alias_check(backup.manifest, name, server.aliases())
            yield from asked_again(server, opened.collections[0], queries, ports.progress)
    except ContentUnreadable as error:
        yield skipped(name, "open", str(error))
    except IntegrityFailed as error:
        yield failed(name, "open", str(error))


def _digest_check(backup: StoredBackup, entry: CollectionEntry, anew: DigestSummary) -> Check:
    """Whether the digest that was computed anew is the one that the backup holds, where it holds one that compares."""
    computed = f"computed anew: {anew.points} points, {anew.content[:16]}"
    if entry.digest_file and _is_of_another_version(backup, entry):
        return skipped(entry.name, "digest", f"the backup's digest has another format; {computed}")
    if entry.digest_file:
        held = held_digest(backup, entry)
        if held.content != anew.content:
            detail = f"its digest says {held.points} points, {held.content[:16]}; {computed}"
            return failed(entry.name, "digest", detail)
    if entry.content and entry.content != anew.content:
        return failed(entry.name, "digest", f"the manifest says {entry.content[:16]}; {computed}")
    if not entry.digest_file and not entry.content:
        return skipped(entry.name, "digest", f"the backup holds none to compare with; {computed}")
    return passed(entry.name, "digest", computed)


def _is_of_another_version(backup: StoredBackup, entry: CollectionEntry) -> bool:
    with backup.open(entry.digest_file) as stream:
        found = stream.read(len(MAGIC))
    return found[:_VERSION_AT] == MAGIC[:_VERSION_AT] and found != MAGIC
