"""A restore that was killed: `resume` finishes it, `undo` puts everything back, and nothing else touches it meanwhile."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from qdrant_backup.errors import IntegrityFailed, NotUndoable, RefusedForSafety
from qdrant_backup.operations.restore.resume import plan_resume
from support.restoring import Lab, points_of

INDEXES = {"rank": "integer"}


class Killed(BaseException):
    """Stands for SIGKILL: no clean-up may run. `die` sees to that."""


def die(lab: Lab, call: str, *, number: int = 1, after: bool) -> None:
    """At that call of the server the process 'dies': what would run on the way out finds a dead lock and does nothing."""
    seen: list[int] = []

    def hook(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        seen.append(1)
        if len(seen) < number:
            return real(*args, **options)
        if after:
            real(*args, **options)
        lab.server.hooks.clear()
        (lab.root / ".lock").unlink()
        raise Killed

    lab.server.hooks[call] = hook


def changed(lab: Lab) -> tuple[dict[str, Any], dict[str, Any]]:
    """A backup of three collections, changed since: the states of the backup and before the restore."""
    lab.make("a", points_of(10), indexes=INDEXES)
    lab.make("b", points_of(10, seed=5))
    lab.make("c", points_of(4))
    lab.alias("live", "b")
    backed_up = lab.state()
    lab.back_up()
    lab.put("a", points_of(5, seed=2))
    lab.put("b", points_of(5, seed=3))
    lab.delete("c")
    lab.alias("live", "a")
    return backed_up, lab.state()


MOMENTS = [
    ("upload_snapshot", 1, False),
    ("upload_snapshot", 1, True),
    ("upload_snapshot", 2, True),
    ("upload_snapshot", 3, False),
    ("create_alias", 1, True),
]


@pytest.mark.fault("P02")
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("call", "number", "after"), MOMENTS)
@pytest.mark.parametrize("how", ["resume", "undo"])
def test_after_a_kill_resume_finishes_and_undo_puts_everything_back(
    lab: Lab, call: str, number: int, after: bool, how: str
) -> None:
    backed_up, before = changed(lab)
    die(lab, call, number=number, after=after)
    with pytest.raises(Killed):
        lab.restore()
    assert lab.journal() is not None
    copies = len(lab.safety_copies())
    if how == "resume":
        assert plan_resume(lab.ports).kind == "restore"
        lab.resume()
        assert lab.state() == backed_up
        assert len(lab.safety_copies()) == copies
    else:
        lab.undo()
        assert lab.state() == before
    assert lab.left_on_server() == []
    assert lab.journal() is None


def test_without_an_unfinished_restore_there_is_nothing_to_resume(lab: Lab) -> None:
    with pytest.raises(NotUndoable) as caught:
        lab.resume()
    assert caught.value.codes.others == 2


def half_done(lab: Lab) -> tuple[dict[str, Any], dict[str, Any]]:
    states = changed(lab)
    die(lab, "upload_snapshot", number=2, after=True)
    with pytest.raises(Killed):
        lab.restore()
    return states


def test_9_meanwhile_backups_of_those_collections_and_other_restores_are_refused(lab: Lab) -> None:
    half_done(lab)
    with pytest.raises(RefusedForSafety, match="has not ended") as caught:
        lab.back_up("a")
    assert "resume" in caught.value.advice
    assert "undo" in caught.value.advice
    with pytest.raises(RefusedForSafety, match="has not ended"):
        lab.restore()
    lab.make("unrelated", points_of(2))
    lab.back_up("unrelated")


def test_9_another_server_is_refused(lab: Lab) -> None:
    half_done(lab)
    lab.server._http.target = dataclasses.replace(lab.server._http.target, host="localhost")
    for again in (lab.resume, lab.undo):
        with pytest.raises(RefusedForSafety, match="Another server"):
            again()


def test_9_a_server_that_lost_what_was_restored_is_refused(lab: Lab) -> None:
    half_done(lab)
    lab.delete("a")
    with pytest.raises(RefusedForSafety, match="a is not as it left it"):
        lab.resume()


def test_9_a_backup_that_was_changed_since_is_refused(lab: Lab) -> None:
    _, before = half_done(lab)
    manifest = lab.ports.directory.find("latest").path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"extra": 1}))
    with pytest.raises(IntegrityFailed, match="not the backup that the restore began with"):
        lab.resume()
    lab.undo()
    assert lab.state() == before


def test_writes_since_the_kill_are_kept_before_they_are_replaced(lab: Lab) -> None:
    backed_up, _ = half_done(lab)
    lab.put("b", points_of(3, seed=77, first=600))
    report = lab.resume()
    assert lab.state() == backed_up
    kept = [copy for copy in lab.safety_copies() if "b" in copy.manifest.collections]
    assert 13 in {copy.manifest.collections["b"].records for copy in kept}
    assert "are kept" in report.targets[1].note


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_undo_is_resumed_or_undone_as_well(lab: Lab) -> None:
    _, before = changed(lab)
    lab.restore()
    restored = lab.state()
    die(lab, "upload_snapshot", number=2, after=True)
    with pytest.raises(Killed):
        lab.undo()
    lab.resume()
    assert lab.state() == before
    assert lab.journal() is None
    lab.restore()
    assert lab.state() == restored
    die(lab, "upload_snapshot", number=2, after=False)
    with pytest.raises(Killed):
        lab.undo()
    lab.undo()
    assert lab.state() == restored
    lab.undo()
    assert lab.state() == before


@pytest.mark.fault("P02")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_between_commit_and_record_loses_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    backed_up, before = changed(lab)

    def killed(*_: object) -> Any:
        (lab.root / ".lock").unlink()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("qdrant_backup.storage.journal.JournalFile.close", killed)
        with pytest.raises(Killed):
            lab.restore()
    assert lab.state() == backed_up
    lab.resume()
    assert lab.journal() is None
    lab.undo()
    assert lab.state() == before


CHILD = """
import sys
sys.path[:0] = sys.argv[4:]
from pathlib import Path
from support.restoring import Lab
from support.servers import RunningServer

running = RunningServer(sys.argv[1], int(sys.argv[2]), Path("."), None, None)
root = Path(sys.argv[3])
lab = Lab(running, root, root.parent / "child")
print("begun", flush=True)
lab.restore()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "seed",
    [pytest.param(1, marks=pytest.mark.fault("P02")), pytest.param(2, marks=pytest.mark.fault("P02", quick=False))],
)
def test_sigkill_at_random_moments_leaves_nothing_that_the_next_run_cannot_mend(patient: Lab, seed: int) -> None:
    dice = random.Random(seed)
    backed_up, before = changed(patient)
    for _ in range(3):
        arguments = [patient.running.kind, str(patient.running.port), str(patient.root), *sys.path]
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        try:
            child.wait(dice.uniform(0.2, 6.0))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        child.stdout.close()
        journal = patient.journal()
        if journal is None:
            assert patient.state() in (before, backed_up)
            if patient.state() == backed_up:
                patient.undo()
        elif dice.random() < 0.5 and not journal.rolling_back:
            patient.resume()
            assert patient.state() == backed_up
            patient.undo()
        else:
            patient.undo()
        assert patient.state() == before
        assert [name for name in patient.left_on_server() if name.startswith("qdrant-backup-")] == []
    patient.back_up()
    # A snapshot that appears after its collection was dropped is listed nowhere, and found on the server's disk alone.
    assert patient.snapshot_files() == []


def test_the_file_of_a_killed_upload_is_deleted(lab: Lab) -> None:
    half_done(lab)
    lab.resume()
    assert lab.left_on_server() == []
