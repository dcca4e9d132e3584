"""D09: a power cut after any system call; what was not synchronised may be lost, in any mixture."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from faults.harness import power
from faults.harness.plugin import missing
from faults.harness.scene import Scene
from faults.harness.watched import watch
from faults.harness.worlds import one_backup, one_changed
from qdrant_backup.clock import SystemClock
from qdrant_backup.storage.directory import BackupDirectory
from qdrant_backup.storage.journal import JournalFile
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.verify import check_files
from support.command import PROGRAM
from support.servers import RunningServer
from support.stored import FIRST, published

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(missing(("strace",))), reason="needs strace"),
]

MIXTURES = 3
UPLOAD = b"multipart/form-data"


def whole_backups(root: Path, *, safety: bool = False) -> set[str]:
    """The ids that are listed; each of them must be whole, and nothing else may have a backup's name."""
    listing = BackupDirectory(root).survey(safety=safety)
    assert listing.invalid == (), [(each.path.name, str(each.error)) for each in listing.invalid]
    for backup in listing.backups:
        assert check_files(backup) == [], backup.backup_id
    return {backup.backup_id for backup in listing.backups}


def next_run_clears(root: Path) -> None:
    with DirectoryLock(root, SystemClock(), "test") as lock:
        assert BackupDirectory(root).sweep(lock).left == ()
    assert [path.name for path in root.iterdir() if path.name.endswith((".partial", ".deleting", ".tmp"))] == []


def traced(scene: Scene, *words: str) -> tuple[power.Directory, list[power.Call]]:
    """The backup directory as it was, and all that a run of the command did."""
    tree = power.load(scene.line.backups)
    ran = watch(scene.line.start(*words, program=power.tracing(PROGRAM, scene.log)), 240, None).ran
    assert ran.code == 0, ran
    calls = list(power.calls_of(scene.log))
    assert sum(call.name == "fsync" for call in calls) > 1
    return tree, calls


def mixtures(tree: power.Directory, place: Path, dice: random.Random) -> Iterator[Path]:
    """What a cut may leave: the least, all names with the least bytes, and some between, one after the other."""
    for number in range(2 + MIXTURES):
        target = place / "cut"
        power.cut(tree, target, dice if number > 1 else None, names=number == 1)
        yield target
        shutil.rmtree(target)


def each_cut(
    scene: Scene, place: Path, seed: int, words: Sequence[str], check: Callable[[Path, list[power.Call]], None]
) -> int:
    """Cut the power after each call that touched the backup directory or the server, and look at what is left."""
    root = scene.line.backups
    tree, calls = traced(scene, *words)
    dice, done, cuts = random.Random(seed), list[power.Call](), 0
    for call in power.replay(tree, root, calls):
        done.append(call)
        touched = str(root) in call.handle or any(str(root).encode() in text for text in call.strings[:2])
        if ".scratch" in call.handle or not (touched or call.name == "sendto"):
            continue
        for target in mixtures(tree, place, dice):
            cuts += 1
            try:
                check(target, done)
            except AssertionError as error:
                raise AssertionError(f"cut after {call.name} {call.handle} {call.rest[:200]}: {error}") from error
    # The model is right when the whole replay ends in what really lies there.
    power.cut(tree, place / "end", names=True)
    assert whole_backups(place / "end") == whole_backups(root)
    return cuts


@pytest.fixture
def scene(embedded_server: RunningServer, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(embedded_server, tmp_path / "scene")
    yield made
    made.close()


@pytest.mark.fault("D09")
def test_a_power_cut_during_a_backup(scene: Scene, tmp_path: Path, fault_seed: int) -> None:
    one_backup(scene)
    old = whole_backups(scene.line.backups)
    seen: set[int] = set()

    def check(root: Path, _: list[power.Call]) -> None:
        found = whole_backups(root)
        assert found >= old
        assert len(found - old) <= 1
        seen.add(len(found - old))
        next_run_clears(root)

    assert each_cut(scene, tmp_path, fault_seed, ("backup",), check) > 100
    assert seen == {0, 1}


@pytest.mark.fault("D09")
def test_a_power_cut_during_a_prune(scene: Scene, tmp_path: Path, fault_seed: int) -> None:
    one_backup(scene)
    for day in (1, 2, 3):
        published(scene.line.backups, FIRST.replace(day=FIRST.day + day))
    old = whole_backups(scene.line.backups)
    seen: set[int] = set()

    def check(root: Path, _: list[power.Call]) -> None:
        found = whole_backups(root)
        assert found <= old
        assert max(old) in found
        seen.add(len(found))
        next_run_clears(root)

    assert each_cut(scene, tmp_path, fault_seed, ("prune", "--keep-days", "1", "--yes"), check) > 20
    assert seen == set(range(1, len(old) + 1))


@pytest.mark.fault("D09")
def test_a_power_cut_during_a_restore_leaves_its_journal_and_its_safety_copy(
    scene: Scene, tmp_path: Path, fault_seed: int
) -> None:
    one_changed(scene)
    old = whole_backups(scene.line.backups)
    with_journal: set[bool] = set()

    def check(root: Path, done: list[power.Call]) -> None:
        assert whole_backups(root) == old
        copies = whole_backups(root, safety=True)
        journal = JournalFile(root, SystemClock()).read()
        with_journal.add(journal is not None)
        if any(UPLOAD in b"".join(call.strings) for call in done if call.name == "sendto"):
            assert copies, "the safety copy of what was replaced is gone"
        if journal is not None and journal.safety_id:
            assert journal.safety_id in copies

    assert each_cut(scene, tmp_path, fault_seed, ("restore", "latest", "--force"), check) > 100
    assert with_journal == {True, False}
