"""The small documents of a backup directory: no flipped bit and no cut makes one that reads as something else."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from qdrant_backup.errors import Incompatible, IntegrityFailed
from qdrant_backup.model import BackupId, CollectionName
from qdrant_backup.storage.catalogue import Catalogue, CatalogueFile, Pin
from qdrant_backup.storage.golden import Golden, GoldenAnswer, GoldenFile, GoldenQuery
from qdrant_backup.storage.intents import IntentStore, SnapshotIntent
from qdrant_backup.storage.journal import JournalFile
from qdrant_backup.storage.journal_model import Journal, JournalServer, RestoreKind
from support.stored import published

if TYPE_CHECKING:
    from collections.abc import Callable

    from qdrant_backup.clock import Clock

NOON = datetime(2026, 2, 3, 12, tzinfo=timezone.utc)


class Kept(NamedTuple):
    """A document on disk: its file, and how it is read."""

    path: Path
    read: Callable[[], object]


def catalogue(root: Path, clock: Clock) -> Kept:
    file = CatalogueFile(root)
    file.write(Catalogue().with_pin(published(root), Pin(at=NOON)))
    return Kept(file.path, file.read)


def golden(root: Path, clock: Clock) -> Kept:
    file = GoldenFile(root)
    query = GoldenQuery(
        id="0123abcd",
        collection=CollectionName("docs"),
        backup_id=BackupId("2026-02-03_143052"),
        recorded_at=NOON,
        answers=(GoldenAnswer(id=7, score=0.1, fingerprint="00"),),
        limit=10,
    )
    file.write(Golden().with_queries([query]))
    return Kept(file.path, file.read)


def intent(root: Path, clock: Clock) -> Kept:
    store = IntentStore(root)
    noted = SnapshotIntent(
        server_url="http://localhost:6333", collection=CollectionName("docs"), existing=("a.snapshot",), begun_at=NOON
    )
    return Kept(root / ".intents" / store.record(noted).name, store.pending)


def journal(root: Path, clock: Clock) -> Kept:
    file = JournalFile(root, clock)
    file.write(
        Journal(
            restore_id="2026-02-03_143052-ab",
            kind=RestoreKind.RESTORE,
            server=JournalServer(url="http://localhost:6333", version="1.18.3"),
            backup_id=BackupId("2026-02-03_143052"),
            backup_path="backups/2026-02-03_143052",
            started_at=NOON,
            targets=(),
        )
    )
    return Kept(file.path, file.read)


EACH = pytest.mark.parametrize("kept", [catalogue, golden, intent, journal])


def reads_as_something(kept: Kept, data: bytes) -> bool:
    kept.path.write_bytes(data)
    try:
        kept.read()
    except (IntegrityFailed, Incompatible):
        return False
    return True


@pytest.mark.fault("H01")
@EACH
def test_no_flipped_bit_makes_another_document(tmp_path: Path, clock: Clock, kept: Callable[..., Kept]) -> None:
    one = kept(tmp_path, clock)
    whole = one.path.read_bytes()
    assert reads_as_something(one, whole)
    flipped = (
        whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for at in range(len(whole)) for bit in range(8)
    )
    assert [data for data in flipped if reads_as_something(one, data)] == []


@pytest.mark.fault("H01")
@EACH
def test_no_cut_makes_another_document(tmp_path: Path, clock: Clock, kept: Callable[..., Kept]) -> None:
    one = kept(tmp_path, clock)
    whole = one.path.read_bytes()
    lacks_its_end_of_line_alone = whole[:-1]
    assert reads_as_something(one, lacks_its_end_of_line_alone)
    assert [end for end in range(len(whole) - 1) if reads_as_something(one, whole[:end])] == []


@EACH
def test_a_document_without_a_checksum_is_damaged(tmp_path: Path, clock: Clock, kept: Callable[..., Kept]) -> None:
    one = kept(tmp_path, clock)
    whole = one.path.read_bytes()
    assert not reads_as_something(one, whole[whole.index(b'"document":') + len(b'"document":') : -2])


@EACH
@pytest.mark.parametrize("body", [b'{"format":1,"entries":3,"queries":3}', b'{"entries":[],"queries":[]}', b"[]"])
def test_a_document_of_another_shape_is_damaged_though_its_checksum_fits(
    tmp_path: Path, clock: Clock, kept: Callable[..., Kept], body: bytes
) -> None:
    one = kept(tmp_path, clock)
    sealed = b'{"sha256":"%s","document":%s}' % (hashlib.sha256(body).hexdigest().encode(), body)
    assert not reads_as_something(one, sealed)
