"""The catalogue: levels and pins belong to exactly the backup that earned them, and its loss harms no backup."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from qdrant_backup.errors import Incompatible, IntegrityFailed
from qdrant_backup.model import Checksum
from qdrant_backup.storage.catalogue import Catalogue, CatalogueFile, Level, Pin, Proof
from support.stored import FIRST, published

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 2, 3, 12, tzinfo=timezone.utc)


def passed(hours: int = 0) -> Proof:
    return Proof(at=NOON + timedelta(hours=hours), passed=True)


def failed(hours: int = 0) -> Proof:
    return Proof(at=NOON + timedelta(hours=hours), passed=False, note="one bit")


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    catalogue = CatalogueFile(tmp_path).read()
    entry = catalogue.entry(published(tmp_path))
    assert (catalogue, entry.level, entry.pin) == (Catalogue(), None, None)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    stored = published(tmp_path)
    pin = Pin(at=NOON, reason="before the upgrade")
    catalogue = Catalogue().with_proof(stored, Level.CONTENT, passed()).with_pin(stored, pin)
    CatalogueFile(tmp_path).write(catalogue)
    assert CatalogueFile(tmp_path).read() == catalogue
    assert (catalogue.entry(stored).level, catalogue.entry(stored).pin) == (Level.CONTENT, pin)
    assert catalogue.with_pin(stored, None).entry(stored).pin is None


def test_a_replaced_backup_inherits_nothing(tmp_path: Path) -> None:
    stored = published(tmp_path)
    replaced = dataclasses.replace(stored, manifest_sha256=Checksum("0" * 64))
    catalogue = Catalogue().with_proof(stored, Level.FILES, passed())
    assert catalogue.entry(replaced).level is None
    catalogue = catalogue.with_proof(replaced, Level.QUICK, passed())
    assert [entry.manifest_sha256 for entry in catalogue.entries] == ["0" * 64]


def test_the_level_is_the_highest_that_passed(tmp_path: Path) -> None:
    stored = published(tmp_path)
    catalogue = Catalogue().with_proof(stored, Level.DRILL, passed()).with_proof(stored, Level.FILES, passed(1))
    assert catalogue.entry(stored).level is Level.DRILL


def test_a_later_failure_takes_away_what_rests_on_it_and_a_later_success_gives_it_back(tmp_path: Path) -> None:
    stored = published(tmp_path)
    catalogue = Catalogue().with_proof(stored, Level.CONTENT, passed()).with_proof(stored, Level.QUICK, passed())
    catalogue = catalogue.with_proof(stored, Level.FILES, failed(1))
    assert catalogue.entry(stored).level is Level.QUICK
    catalogue = catalogue.with_proof(stored, Level.FILES, passed(2))
    assert catalogue.entry(stored).level is Level.CONTENT


def test_entries_of_backups_that_are_gone_can_be_dropped(tmp_path: Path) -> None:
    first, second = published(tmp_path), published(tmp_path, FIRST + timedelta(days=1))
    catalogue = Catalogue().with_proof(first, Level.QUICK, passed()).with_proof(second, Level.QUICK, passed())
    assert [entry.backup_id for entry in catalogue.only([second.backup_id]).entries] == [second.backup_id]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"entries": 3}', b'{"entries": []}', b"\xff"])
def test_a_damaged_catalogue_is_named_and_not_taken_for_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".catalogue.json").write_bytes(content)
    with pytest.raises(IntegrityFailed, match=r"catalogue\.json") as caught:
        CatalogueFile(tmp_path).read()
    assert "pin" in caught.value.advice


def test_a_newer_catalogue_is_refused_as_newer(tmp_path: Path) -> None:
    (tmp_path / ".catalogue.json").write_bytes(b'{"sha256": "?", "document": {"format": 2, "entries": {}}}')
    with pytest.raises(Incompatible):
        CatalogueFile(tmp_path).read()


def test_levels_are_ordered_by_what_they_prove() -> None:
    assert sorted(Level, key=lambda level: level.rank) == [
        Level.QUICK,
        Level.FILES,
        Level.ARCHIVE,
        Level.CONTENT,
        Level.DRILL,
    ]


def test_a_restore_into_a_server_proves_more_than_a_later_drill_in_the_engine(tmp_path: Path):
    stored = published(tmp_path)
    restored = Proof(at=NOON, passed=True, server="http://localhost:6333")
    catalogue = Catalogue().with_proof(stored, Level.DRILL, restored).with_proof(stored, Level.DRILL, passed(1))
    assert catalogue.entry(stored).restorable == restored
    assert catalogue.entry(stored).proofs[Level.DRILL] == passed(1)


@pytest.mark.parametrize("level", [Level.FILES, Level.DRILL])
def test_a_later_failure_takes_either_proof_back(tmp_path: Path, level: Level):
    stored = published(tmp_path)
    catalogue = Catalogue().with_proof(stored, Level.CONTENT, passed()).with_proof(stored, Level.DRILL, passed())
    assert catalogue.entry(stored).restorable == passed()
    restored = Proof(at=NOON, passed=True, server="http://localhost:6333")
    refuted = catalogue.with_proof(stored, Level.DRILL, restored).with_proof(stored, level, failed(1))
    assert refuted.entry(stored).restorable is None
    assert refuted.entry(stored).level is (Level.CONTENT if level is Level.DRILL else None)


def test_a_later_failure_on_a_server_leaves_no_older_proof_to_be_shown(tmp_path: Path):
    stored = published(tmp_path)
    on_server = Proof(at=NOON + timedelta(hours=1), passed=False, server="http://localhost:6333")
    catalogue = Catalogue().with_proof(stored, Level.DRILL, passed()).with_proof(stored, Level.DRILL, on_server)
    assert catalogue.entry(stored).restorable is None
