"""H05: backups that were removed, and backups that pose as others or come from the future."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.clock import SystemClock
from qdrant_backup.storage.catalogue import CatalogueFile, Level, Proof
from qdrant_backup.storage.lock import DirectoryLock
from support.command import CommandLine
from support.damaged import resigned
from support.stored import FIRST, published


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """Five good backups, a day apart, long ago; each was verified."""
    made = CommandLine(tmp_path)
    for days in range(5):
        backup = published(made.backups, FIRST + days * DAY)
        with DirectoryLock(made.backups, SystemClock(), "verify"):
            file = CatalogueFile(made.backups)
            proof = Proof(at=backup.finished_at, passed=True)
            file.write(file.read().with_proof(backup, Level.FILES, proof))
    return made


DAY = timedelta(days=1)
NEWEST = "2026-02-07_143052"
BEFORE = "2026-02-06_143052"


def left(line: CommandLine) -> list[str]:
    return [path.name for path in line.published()]


def latest(line: CommandLine) -> str:
    return line.inside("show", "--json").ok().json["id"]


def found_by_check(line: CommandLine) -> str:
    return line.inside("check", env={"QDRANT_PORT": "9", "QDRANT_HOST": "127.0.0.1"}).out


@pytest.mark.fault("H05")
def test_a_newest_backup_that_was_removed_is_missed_and_the_one_before_is_never_pruned(line: CommandLine) -> None:
    assert "was the newest" not in found_by_check(line)
    shutil.rmtree(line.backups / NEWEST)
    assert f"{NEWEST} was the newest backup, and is gone" in found_by_check(line)
    assert latest(line) == BEFORE
    line.inside("prune", "--keep-days", "0", "--yes").ok()
    assert BEFORE in left(line)


@pytest.mark.fault("H05")
def test_an_old_backup_under_a_newer_name_is_not_the_latest(line: CommandLine) -> None:
    shutil.copytree(line.backups / "2026-02-03_143052", line.backups / "2026-02-09_000000")
    assert latest(line) == NEWEST
    line.inside("prune", "--keep-days", "0", "--yes").ok()
    assert NEWEST in left(line)


@pytest.mark.fault("H05")
def test_an_old_backup_in_the_newest_ones_place_is_not_the_one_that_was_verified(line: CommandLine) -> None:
    shutil.rmtree(line.backups / NEWEST)
    shutil.copytree(line.backups / "2026-02-03_143052", line.backups / NEWEST)
    assert f"{NEWEST} is not the backup that was verified" in found_by_check(line)
    assert latest(line) == BEFORE
    line.inside("prune", "--keep-days", "0", "--yes").ok()
    assert BEFORE in left(line)


@pytest.mark.fault("H05")
@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("empty", [False, True])
def test_backups_from_the_future_do_not_make_prune_take_the_newest_good_one(
    line: CommandLine, count: int, empty: bool
) -> None:
    for number in range(count):
        fake = line.backups / f"2099-01-{number + 1:02}_000000"
        shutil.copytree(line.backups / "2026-02-03_143052", fake)
        when = f"2099-01-{number + 1:02}T00:00:00+00:00"
        resigned(fake, lambda raw, when=when: raw.update(finished_at=when, **({"collections": {}} if empty else {})))
    ran = line.inside("prune", "--keep-days", "0", "--yes")
    assert ran.code in (0, 8), ran
    assert NEWEST in left(line)


@pytest.mark.fault("H05")
@pytest.mark.parametrize("count", [1, 10])
def test_empty_backups_of_now_do_not_make_prune_take_the_last_full_one(line: CommandLine, count: int) -> None:
    for number in range(count):
        fake = line.backups / f"2026-03-{number + 1:02}_000000"
        shutil.copytree(line.backups / "2026-02-03_143052", fake)
        when = f"2026-03-{number + 1:02}T00:00:00+00:00"

        def emptied(raw: dict[str, Any], when: str = when) -> None:
            raw.update(finished_at=when)
            raw["collections"]["docs"].update(records=0, points=0)

        resigned(fake, emptied)
    ran = line.inside("prune", "--keep-days", "0", "--yes")
    assert ran.code in (0, 8), ran
    assert NEWEST in left(line)
