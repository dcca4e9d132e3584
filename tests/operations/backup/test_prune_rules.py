"""Which backups `prune` lets go: a table, and the same by the command."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from qdrant_backup.layout import backup_id_at
from qdrant_backup.manifest import CollectionEntry
from qdrant_backup.model import Checksum
from qdrant_backup.operations.listing import Listed
from qdrant_backup.operations.prune import plan
from qdrant_backup.storage.catalogue import CatalogueFile, Pin
from qdrant_backup.storage.stored import Finding, FindingKind, StoredBackup
from support.command import CommandLine, tree_of
from support.contracts import matches
from support.stored import FIRST, manifest_of, published

NOW = FIRST
DAY = timedelta(days=1)
CUT = Finding("qdrant/docs.snapshot", FindingKind.SIZE, "cut")


def listed(
    age_days: float, records: int = 100, *, names: str = "docs", whole: bool = True, pinned: str = "", host: str = "a"
) -> Listed:
    finished = NOW - age_days * DAY
    base = manifest_of(finished, qdrant_host=host)
    (entry,) = base.collections.values()
    entries: dict[str, CollectionEntry] = {
        name: msgspec.structs.replace(entry, name=name, records=records) for name in names.split()
    }
    manifest = msgspec.structs.replace(base, collections=entries)
    backup_id = backup_id_at(finished)
    findings = () if whole else (CUT,)
    stored = StoredBackup(Path("/b") / backup_id, backup_id, manifest, Checksum(""), is_safety=False, findings=findings)
    return Listed(stored, "files", pinned=pinned)


def gone(*entries: Listed, keep_days: int = 7, damaged: frozenset[int] = frozenset()) -> list[int]:
    """The places in `entries` (newest first) of those that go."""
    ids = frozenset(entries[number].backup.backup_id for number in damaged)
    decided = plan(entries, now=NOW, keep_days=keep_days, damaged=ids)
    doomed = {backup.backup_id for backup in decided.doomed}
    return [number for number, entry in enumerate(entries) if entry.backup.backup_id in doomed]


def test_older_than_the_days_to_keep_goes_and_younger_stays() -> None:
    assert gone(listed(1), listed(6.9), listed(7.1), listed(30)) == [2, 3]


@pytest.mark.fault("P10")
def test_the_newest_good_one_stays_however_old() -> None:
    assert gone(listed(400), listed(500)) == [1]


def test_zero_days_keep_the_newest_good_one_alone() -> None:
    assert gone(listed(0.1), listed(0.2), listed(1), keep_days=0) == [1, 2]


def test_each_collection_keeps_its_newest() -> None:
    assert gone(listed(1, names="docs"), listed(20, names="docs other"), listed(30, names="docs other")) == [2]


def test_each_server_keeps_its_newest() -> None:
    assert gone(listed(1, host="a"), listed(20, host="b"), listed(30, host="a")) == [2]


@pytest.mark.fault("P10")
def test_a_damaged_one_counts_for_nothing_and_is_left_to_look_at() -> None:
    assert gone(listed(1, whole=False), listed(20), listed(30)) == [2]
    assert gone(listed(1), listed(20, whole=False)) == []
    assert gone(listed(1), listed(20), listed(30), damaged=frozenset({0})) == [2]


def test_a_shrunken_one_does_not_displace_the_last_larger_one() -> None:
    assert gone(listed(1, 10), listed(20, 100), listed(30, 100)) == [2]
    assert gone(listed(1, 0), listed(20, 100), listed(30, 100)) == [2]
    assert gone(listed(1, 60), listed(20, 100)) == [1]


def test_shrinking_step_by_step_keeps_the_large_one_behind_each_step() -> None:
    assert gone(listed(1, 10), listed(20, 30), listed(30, 100), listed(40, 100)) == [3]


def test_a_pinned_one_stays() -> None:
    assert gone(listed(1), listed(20, pinned="golden"), listed(30)) == [2]


@pytest.mark.fault("P09")
def test_one_that_is_dated_in_the_future_does_not_displace_the_newest_of_now() -> None:
    assert gone(listed(-400), listed(20), listed(30)) == [2]
    assert gone(listed(-400), listed(-0.1)) == []


def test_nothing_goes_of_nothing() -> None:
    assert gone() == []


@pytest.fixture
def old(tmp_path: Path) -> CommandLine:
    """Three backups of long ago, and things that are none."""
    line = CommandLine(tmp_path)
    for days in (0, 1, 2):
        published(line.backups, FIRST + days * DAY)
    (line.backups / "2020-01-01_000000").mkdir()
    (line.backups / "my notes").mkdir()
    (line.backups / ".2020-01-01_000000.partial").mkdir()
    return line


def ids(line: CommandLine) -> list[str]:
    return [path.name for path in line.published()]


def test_without_yes_it_only_says_what_would_go(old: CommandLine) -> None:
    before = tree_of(old.backups)
    ran = old.inside("prune", "--keep-days", "7").ok()
    assert tree_of(old.backups) == before
    assert "2 backup(s)" in ran.out
    assert "--yes" in ran.out
    assert "2020-01-01_000000  untouched" in ran.out


def test_with_yes_they_go_and_what_is_not_a_backup_stays(old: CommandLine) -> None:
    ran = old.inside("prune", "--keep-days", "7", "--yes", "--json").ok()
    matches("prune --json", ran.json)
    assert ran.json["deleted"] == ["2026-02-03_143052", "2026-02-04_143052"]
    assert ids(old) == ["2020-01-01_000000", "2026-02-05_143052", "my notes"]
    again = old.inside("prune", "--keep-days", "0", "--yes", "--json").ok()
    assert again.json["deleted"] == []


@pytest.mark.fault("P10")
def test_where_the_newest_ones_bytes_are_damaged_the_one_before_stays(old: CommandLine) -> None:
    snapshot = old.backups / "2026-02-05_143052" / "qdrant" / "docs.snapshot"
    snapshot.write_bytes(b"X" + snapshot.read_bytes()[1:])
    old.inside("prune", "--keep-days", "7", "--yes").ok()
    assert ids(old) == ["2020-01-01_000000", "2026-02-04_143052", "2026-02-05_143052", "my notes"]


def test_with_a_damaged_catalogue_nothing_is_deleted(old: CommandLine) -> None:
    (old.backups / ".catalogue.json").write_text("{")
    before = tree_of(old.backups)
    old.inside("prune", "--keep-days", "7", "--yes").failed(5, "catalogue")
    assert tree_of(old.backups) == before


def test_a_pin_holds(old: CommandLine) -> None:
    from qdrant_backup.storage.directory import BackupDirectory

    oldest = BackupDirectory(old.backups).find("2026-02-03_143052")
    file = CatalogueFile(old.backups)
    file.write(
        file.read().with_pin(oldest, Pin(at=datetime.fromisoformat("2026-02-03T00:00:00+00:00"), reason="golden"))
    )
    ran = old.inside("prune", "--keep-days", "7", "--yes").ok()
    assert "2026-02-03_143052" in ids(old)
    assert "pinned: golden" in ran.out
    assert "pinned: golden" in old.inside("list").ok().out


@pytest.mark.parametrize("words", [[], ["--keep-days"], ["--keep-days", "-1"], ["--keep-days", "many"]])
def test_the_days_must_be_said_and_make_sense(old: CommandLine, words: list[str]) -> None:
    before = tree_of(old.backups)
    assert old.inside("prune", "--yes", *words).code == 64
    assert tree_of(old.backups) == before
