"""P, S04: runs that meet each other, what dead ones left, clocks that lie, and disks that refuse to delete."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import Case, parameters
from faults.harness.disks import attribute, supports_attributes
from faults.harness.plugin import missing
from faults.harness.scene import Before, Scene
from faults.harness.watched import watch
from faults.harness.worlds import one_backup, one_changed
from qdrant_backup.layout import JOURNAL
from qdrant_backup.storage.directory import BackupDirectory
from qdrant_backup.storage.verify import check_files
from support.command import LONGEST_S, PROGRAM, CommandLine, Ran, until
from support.servers import RunningServer
from support.stored import FIRST, SNAPSHOT, published

pytestmark = pytest.mark.timeout(3600)

DAY = timedelta(days=1)
SLOW_CREATION = {"match": "POST /collections/*/snapshots", "action": "delay", "delay_s": 5.0}
LOCKED = 6


@pytest.fixture
def scene(embedded_server: RunningServer, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(embedded_server, tmp_path / "scene")
    yield made
    made.close()


def ids(scene: Scene) -> list[str]:
    return [path.name for path in scene.line.published()]


def whole(scene: Scene, *names: str) -> None:
    """Each of these passes `verify --content`; the crafted ones, whose snapshots are no archives, have all their bytes."""
    for name in names:
        if name.startswith(f"{FIRST:%Y-%m}"):
            assert check_files(BackupDirectory(scene.line.backups).find(name)) == []
        else:
            scene.line.inside("verify", name, "--content").ok()


def unchanged(scene: Scene, before: Before) -> None:
    now = scene.files()
    assert {name: now.get(name) for name in before.files} == dict(before.files)


# --- P06: two backups at once


@pytest.mark.fault("P06")
def test_two_backups_at_once(scene: Scene, fault_seed: int, full: bool) -> None:
    one_backup(scene)
    dice = random.Random(fault_seed)
    for number in range(50 if full else 2):
        before = scene.before()
        first = scene.line.start("backup")
        # Either may come first to any step, so the second starts whenever it pleases.
        time.sleep(dice.choice([0.0, dice.uniform(0.0, 0.3), dice.uniform(0.0, 2.0)]))
        second = scene.line.start("backup")
        ended = [watch(process, LONGEST_S, None).ran for process in (first, second)]
        codes = sorted(ran.code for ran in ended)
        assert codes in ([0, 0], [0, LOCKED]), f"round {number}: {ended}"
        if LOCKED in codes:
            assert "is in use" in next(ran.err for ran in ended if ran.code == LOCKED)
        new = set(ids(scene)) - set(before.listed)
        assert len(new) == codes.count(0), (number, codes, new)
        whole(scene, *new)
        unchanged(scene, before)
        assert scene.line.wrecks() == []
        assert scene.lab.left_on_server() == []


# --- P07: everything at once

MIX: Sequence[tuple[Sequence[str], Sequence[int]]] = (
    (("backup",), (0, 6, 8)),
    (("prune", "--keep-days", "0", "--yes"), (0, 6, 8)),
    (("verify", "latest"), (0, 2)),
    (("verify", "latest~1"), (0, 2)),
    (("verify", "--all", "--content"), (0, 2)),
    (("restore", "latest", "--force"), (0, 1, 6, 8)),
    (("restore", "latest~1", "--force"), (0, 1, 6, 8)),
    (("list",), (0,)),
)


@pytest.mark.fault("P07", quick=False)
def test_everything_at_once(scene: Scene, fault_seed: int) -> None:
    one_changed(scene)
    for _ in range(2):
        assert scene.line.inside("restore", "latest", "--force").code == 0
        assert scene.line.inside("backup").code == 0
    dice, counted, goal = random.Random(fault_seed), dict[tuple[str, int], int](), scene.lab.state()
    for _ in range(15):
        chosen = [dice.choice(MIX) for _ in range(3)]
        running = [(words, exits, scene.line.start(*words)) for words, exits in chosen]
        for words, exits, process in running:
            ran = watch(process, LONGEST_S, None).ran
            assert ran.code in exits, f"{words} beside {chosen}: {ran}"
            counted[words[0], ran.code] = counted.get((words[0], ran.code), 0) + 1
        assert scene.lab.state() == goal
        assert ids(scene), "the last backup is gone"
        whole(scene, *ids(scene))
        if len(ids(scene)) < 2:
            assert scene.line.inside("backup").code == 0
    done = {word for word, code in counted if code == 0}
    assert done == {"backup", "prune", "verify", "restore", "list"}, counted
    assert scene.lab.left_on_server() == []
    # Safety copies stay for their days.
    assert [name for name in scene.line.wrecks() if not name.startswith(".safety-")] == []


# --- P08: locks


def note(**changes: Any) -> bytes:
    fields = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": "backup",
        "started_at": "2026-01-01T00:00:00Z",
    }
    return json.dumps(fields | changes).encode() + b"\n"


def with_lock(content: bytes) -> Callable[[Scene], None]:
    def left(scene: Scene) -> None:
        (scene.line.backups / ".lock").write_bytes(content)

    return left


LEFT = (
    ("of a process id that another process has now", note()),
    ("of another host", note(host="elsewhere.invalid", pid=1)),
    ("from the future", note(started_at="2099-01-01T00:00:00Z")),
    ("with nonsense in it", b"\xff\x00{" * 50),
)
LOCKS = tuple(
    Case("P08", f"a lock {fact}", ("backup",), (0,), world=one_backup, damage=with_lock(content), also=("G1", "G5"))
    for fact, content in LEFT
)


@pytest.mark.parametrize(("case", "kind"), parameters(LOCKS))
def test_what_stands_in_a_lock_decides_nothing(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)


def held(scene: Scene) -> Any:
    """A backup that waits for the server, and holds the lock."""
    scene.server.script(SLOW_CREATION)
    process = scene.line.start("backup")
    until(lambda: sum(scene.server.fired()) > 0, process)
    return process


@pytest.mark.fault("P08")
def test_the_lock_of_a_killed_run_is_taken_over_and_said_so(scene: Scene) -> None:
    one_backup(scene)
    before = scene.before()
    process = held(scene)
    process.kill()
    assert watch(process, 60, None).ran.code == -signal.SIGKILL
    scene.server.script()
    ran = scene.line.inside("backup")
    assert ran.code == 0, ran
    assert f"process {process.pid}" in ran.err
    unchanged(scene, before)
    assert scene.line.wrecks() == []
    assert scene.lab.left_on_server() == []


@pytest.mark.fault("P08")
def test_what_a_killed_restore_left_is_not_said_to_be_cleared_away(scene: Scene) -> None:
    one_changed(scene)
    scene.server.script({"match": "POST /collections/*/snapshots/upload", "action": "slow_restore", "times": None})
    process = scene.line.start("restore", "latest", "--force")
    until((scene.line.backups / JOURNAL).exists, process)
    process.kill()
    assert watch(process, 60, None).ran.code == -signal.SIGKILL
    scene.server.script()
    refused = scene.line.inside("backup").failed(8, "has not ended", "resume")
    assert "cleared away" not in refused.err
    scene.line.inside("undo", "--yes").ok()
    assert "cleared away" not in scene.line.inside("backup").ok().err


@pytest.mark.fault("P08")
def test_a_stopped_run_keeps_its_lock_and_goes_on(scene: Scene) -> None:
    one_changed(scene)
    process = held(scene)
    process.send_signal(signal.SIGSTOP)
    for words in (["backup"], ["prune", "--keep-days", "0", "--yes"], ["restore", "latest", "--force"]):
        refused = scene.line.inside(*words)
        assert refused.code == LOCKED, refused
        assert f"process {process.pid}" in refused.err
    process.send_signal(signal.SIGCONT)
    assert watch(process, 120, None).ran.code == 0
    whole(scene, *ids(scene))
    assert scene.line.wrecks() == []


@pytest.mark.fault("P08")
def test_a_stopped_run_whose_lock_was_taken_away_destroys_nothing(scene: Scene) -> None:
    one_backup(scene)
    process = held(scene)
    process.send_signal(signal.SIGSTOP)
    (scene.line.backups / ".lock").unlink()
    scene.server.script()
    second = scene.line.run("backup")
    assert second.code == 0, second
    before = scene.before()
    process.send_signal(signal.SIGCONT)
    ran = watch(process, 120, None).ran
    # The second run took its snapshot away from the server, as that of a dead one; it may notice that before the lock.
    assert ran.code in (0, 5, LOCKED), ran
    unchanged(scene, before)
    whole(scene, *ids(scene))
    assert len(ids(scene)) == len(before.listed) + (ran.code == 0)
    assert scene.line.inside("backup").code == 0
    assert scene.line.wrecks() == []


# --- P09: clocks

needs_faketime = pytest.mark.skipif(bool(missing(("faketime",))), reason="needs faketime")


def at(scene: Scene, moment: str, *words: str, zone: str = "UTC") -> Ran:
    """The command, at another time."""
    program = ["faketime", "-f", moment, *PROGRAM]
    return watch(scene.line.start(*words, program=program, env={"TZ": zone}), 240, None).ran


@needs_faketime
@pytest.mark.fault("P09")
def test_a_clock_that_went_back_ten_days_makes_no_older_backup_the_latest(scene: Scene) -> None:
    one_backup(scene)
    scene.line.inside("backup").ok()
    newest = ids(scene)[-1]
    assert at(scene, "-10d", "backup").code == 0
    assert len(ids(scene)) == 3
    assert scene.line.inside("show", "latest", "--json").ok().json["id"] == newest
    before = scene.before()
    assert at(scene, "-10d", "prune", "--keep-days", "1", "--yes").code == 0
    assert newest in ids(scene)
    whole(scene, *ids(scene))
    assert before.listed


def newest_first(scene: Scene) -> list[str]:
    return [each["id"] for each in scene.line.inside("list", "--json").ok().json]


@needs_faketime
@pytest.mark.fault("P09")
def test_an_hour_that_comes_twice_gives_two_names_in_the_order_in_which_they_came(scene: Scene) -> None:
    one_backup(scene)
    for summer_then_winter in ("CEST-2", "CET-1"):
        ran = at(scene, "@2026-10-25 02:30:00", "backup", zone=summer_then_winter)
        assert ran.code == 0, ran
    new = ids(scene)[1:]
    assert newest_first(scene) == [*sorted(new, reverse=True), ids(scene)[0]]
    assert len(set(new)) == 2
    whole(scene, *new)


@needs_faketime
@pytest.mark.fault("P09")
def test_a_second_that_comes_twice_gives_two_names(scene: Scene) -> None:
    one_backup(scene)
    for _ in range(2):
        ran = at(scene, "@2026-10-25 02:30:00", "backup", zone="Europe/Berlin")
        assert ran.code == 0, ran
    new = ids(scene)[1:]
    assert new[1] == f"{new[0]}-2"
    # Which of them ended first by its own clock is chance.
    assert set(newest_first(scene)[:2]) == set(new)
    whole(scene, *new)


@needs_faketime
@pytest.mark.fault("P09")
def test_a_backup_of_2038_does_not_push_out_the_newest_of_now(scene: Scene) -> None:
    one_backup(scene)
    scene.line.inside("backup").ok()
    now = ids(scene)[-1]
    ran = at(scene, "@2038-01-19 03:14:05", "backup")
    assert ran.code == 0, ran
    assert ids(scene)[-1].startswith("2038-01-19_0314")
    assert scene.line.inside("prune", "--keep-days", "0", "--yes").code == 0
    assert now in ids(scene)
    whole(scene, *ids(scene))
    assert scene.line.inside("backup").code == 0


@needs_faketime
@pytest.mark.fault("P09")
def test_a_clock_that_leaps_a_year_before_a_prune_leaves_the_newest_good_backup_and_the_safety_copy(
    scene: Scene,
) -> None:
    one_changed(scene)
    scene.line.inside("restore", "latest", "--force").ok()
    scene.line.inside("backup").ok()
    newest = ids(scene)[-1]
    copies = sorted(path.name for path in scene.line.backups.glob(".safety-*"))
    assert copies
    for _ in range(2):
        ran = at(scene, "+365d", "prune", "--keep-days", "7", "--yes")
        assert ran.code == 0, ran
    assert newest in ids(scene)
    assert sorted(path.name for path in scene.line.backups.glob(".safety-*")) == copies
    whole(scene, *ids(scene))
    assert scene.line.inside("undo", "--yes").code == 0


# --- P10: nothing but failures for a month


def no_manifest(backup: Path) -> None:
    (backup / "manifest.json").unlink()


def cut_snapshot(backup: Path) -> None:
    os.truncate(backup / "qdrant" / "docs.snapshot", 10)


def changed_byte(backup: Path) -> None:
    snapshot = backup / "qdrant" / "docs.snapshot"
    snapshot.write_bytes(b"X" + SNAPSHOT[1:])


def unfinished(backup: Path) -> None:
    backup.rename(backup.with_name(f".{backup.name}.partial"))


def half_deleted(backup: Path) -> None:
    backup.rename(backup.with_name(f".{backup.name}.deleting"))


FAILURES = (no_manifest, cut_snapshot, changed_byte, unfinished, half_deleted)


@pytest.mark.fault("P10")
@pytest.mark.parametrize("keep_days", ["0", "7", "29"])
def test_after_thirty_days_of_failures_the_last_good_backup_stays(tmp_path: Path, keep_days: str) -> None:
    line = CommandLine(tmp_path)
    older, good = published(line.backups, FIRST - DAY), published(line.backups, FIRST)
    for day in range(1, 31):
        FAILURES[day % len(FAILURES)](published(line.backups, FIRST + day * DAY).path)
    bytes_before = {path.name: path.read_bytes() for path in good.path.iterdir() if path.is_file()}
    for _ in range(2):
        line.inside("prune", "--keep-days", keep_days, "--yes").ok()
        assert {path.name: path.read_bytes() for path in good.path.iterdir() if path.is_file()} == bytes_before
    assert check_files(good) == []
    assert not older.path.exists()
    listed = line.inside("list", "--json").ok().json
    assert good.backup_id in [each["id"] for each in listed]
    assert line.wrecks() == []


# --- S04: a disk that refuses to delete

needs_attributes = "needs chattr (root, ext4)"


@pytest.mark.fault("S04")
@pytest.mark.parametrize("kind", ["+i", "+a"])
def test_backups_that_cannot_be_deleted_stay_listed_and_prune_says_so(scene: Scene, kind: str) -> None:
    one_backup(scene)
    if not supports_attributes(scene.line.backups):
        pytest.skip(needs_attributes)
    published(scene.line.backups, FIRST + DAY)
    kept = ids(scene)
    try:
        for name in kept:
            attribute(kind, scene.line.backups / name)
        assert scene.line.inside("backup").code == 0
        before = scene.before()
        assert len(before.listed) == 3
        ran = scene.line.inside("prune", "--keep-days", "0", "--yes")
        ran.failed(2, kept[0], "Operation not permitted")
        unchanged(scene, before)
        assert ids(scene) == list(before.listed)
        assert sorted(each["id"] for each in scene.line.inside("list", "--json").ok().json) == sorted(before.listed)
    finally:
        for name in kept:
            attribute(f"-{kind[1]}", scene.line.backups / name)
    whole(scene, *ids(scene))
    assert scene.line.wrecks() == []


@pytest.mark.fault("S04")
def test_a_directory_in_which_nothing_can_be_renamed_or_deleted_takes_no_backup_and_loses_none(scene: Scene) -> None:
    one_backup(scene)
    if not supports_attributes(scene.line.backups):
        pytest.skip(needs_attributes)
    scene.line.inside("backup").ok()
    before = scene.before()
    attribute("+a", scene.line.backups)
    try:
        scene.line.inside("backup").failed(2, "Operation not permitted")
        scene.line.inside("prune", "--keep-days", "0", "--yes").failed(2, "Operation not permitted")
        unchanged(scene, before)
        assert [each["id"] for each in scene.line.inside("list", "--json").ok().json] == sorted(
            before.listed, reverse=True
        )
    finally:
        attribute("-a", scene.line.backups)
    assert scene.line.inside("backup").code == 0
    assert scene.line.wrecks() == []
