"""P: how runs end when somebody ends them, and who meets whom."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import Case, parameters
from faults.harness.injection import Injection, Strike, injected, strikes
from faults.harness.plugin import missing
from faults.harness.scene import Scene
from faults.harness.strikes import Enumeration, strike_all
from faults.harness.watched import watch
from faults.harness.worlds import one_backup, one_changed
from support.command import until
from support.servers import RunningServer
from support.stored import FIRST, published

pytestmark = pytest.mark.timeout(3600)

needs_strace = pytest.mark.skipif(bool(missing(("strace",))), reason="needs strace")

CHANGING = "write,fsync,close,rename,mkdir,rmdir,unlink,unlinkat,ftruncate,fchmod,chmod,openat,flock"
SCRATCH_ALONE = {"unlinkat"}
"""What a backup calls nowhere but in the engine's scratch directory."""

TALKING = "connect,sendto,recvfrom"
KILLED = (-signal.SIGKILL,)
BACKUP, RESTORE = ("backup",), ("restore", "{backup}", "--force")


# --- P01, P03: SIGKILL at system calls


@needs_strace
@pytest.mark.fault("P01")
def test_a_backup_killed_at_some_system_calls(embedded_server: RunningServer, tmp_path: Path, fault_seed: int) -> None:
    case = Case(
        "P01", "killed", BACKUP, KILLED, world=one_backup, also=("G5",), skips={"G5": "nobody is left to name it"}
    )
    strike_all(Enumeration(case, CHANGING, "signal=SIGKILL"), embedded_server, tmp_path, seed=fault_seed, most=3)


@needs_strace
@pytest.mark.fault("P01", quick=False)
@pytest.mark.parametrize("call", [call for call in CHANGING.split(",") if call not in SCRATCH_ALONE])
def test_a_backup_killed_at_every_system_call(
    embedded_server: RunningServer, tmp_path: Path, fault_seed: int, call: str
) -> None:
    case = Case("P01", "killed", BACKUP, KILLED, world=one_backup)
    strike_all(Enumeration(case, call, "signal=SIGKILL"), embedded_server, tmp_path, seed=fault_seed)


def old_backups(scene: Scene) -> None:
    """Backups for `prune` to delete, and a server for the backup that comes after it."""
    one_backup(scene)
    for days in (1, 2, 3):
        published(scene.line.backups, FIRST.replace(day=FIRST.day + days))


@needs_strace
@pytest.mark.fault("P03")
def test_a_prune_killed_at_every_system_call(embedded_server: RunningServer, tmp_path: Path, fault_seed: int) -> None:
    case = Case("P03", "killed", ("prune", "--keep-days", "1", "--yes"), KILLED, world=old_backups)
    calls = "rename,unlink,unlinkat,rmdir,fsync,write,ftruncate,flock"
    strike_all(Enumeration(case, calls, "signal=SIGKILL"), embedded_server, tmp_path, seed=fault_seed)


# --- P02: SIGKILL at random moments of a restore


def moments_of(scene: Scene) -> list[Strike]:
    """The system calls of an undisturbed restore, from the first that touches the backup directory on."""
    watched = scene.run(Case("P02", "undisturbed", RESTORE, (0,), system=Injection(f"{CHANGING},{TALKING}")))
    assert watched.ran.code == 0, watched.ran
    found = list(strikes(scene.log, ""))
    begun = next(number for number, each in enumerate(found) if str(scene.line.backups) in each.line)
    return found[begun:]


def killed_and_mended(scene: Scene, strike: Strike, before: dict[str, Any], dice: random.Random) -> bool:
    """Kill a restore at that call; whatever stands there then is finished or taken back. Whether it was hit."""
    scene.run(Case("P02", "killed", RESTORE, KILLED, system=Injection(strike.call, "signal=SIGKILL" + strike.when())))
    hit = bool(injected(scene.log))
    journal = scene.lab.journal()
    word = "undo"
    if journal is None:
        assert scene.lab.state() in (before, scene.goal), "no journal, and neither the one nor the other"
    else:
        word = "undo" if journal.rolling_back else dice.choice(["resume", "undo"])
        mended = scene.line.inside(word, "--yes")
        assert mended.code == 0, (word, mended)
        assert scene.lab.state() == (before if word == "undo" else scene.goal), word
    if scene.lab.state() == scene.goal:
        assert scene.line.inside("undo", "--yes").code == 0
        assert scene.lab.state() == before
    assert [name for name in scene.lab.left_on_server() if name.startswith("qdrant-backup-")] == []
    return hit


def kill_restores(server: RunningServer, directory: Path, seed: int, moments: int) -> None:
    dice = random.Random(seed)
    scene = Scene(server, directory)
    try:
        one_changed(scene)
        before = scene.lab.state()
        possible = moments_of(scene)
        assert scene.line.inside("undo", "--yes").code == 0
        hits = 0
        for strike in (dice.choice(possible) for _ in range(moments)):
            try:
                hits += killed_and_mended(scene, strike, before, dice)
            except AssertionError as error:
                raise AssertionError(f"killed at {strike}, seed {seed}: {error}") from error
        assert hits > moments // 2, "most kills came too late"
        assert scene.line.inside("backup").code == 0
        # Safety copies stay for their days.
        assert [name for name in scene.line.wrecks() if not name.startswith(".safety-")] == []
    finally:
        scene.close()


@needs_strace
@pytest.mark.fault("P02")
def test_a_restore_killed_at_three_moments(embedded_server: RunningServer, tmp_path: Path, fault_seed: int) -> None:
    kill_restores(embedded_server, tmp_path / "scene", fault_seed, 3)


@needs_strace
@pytest.mark.fault("P02", quick=False)
@pytest.mark.parametrize("part", range(8))
def test_a_restore_killed_at_two_hundred_moments(
    server: RunningServer, tmp_path: Path, fault_seed: int, part: int
) -> None:
    kill_restores(server, tmp_path / "scene", fault_seed + 1 + part, 25 if server.kind == "embedded" else 5)


# --- P04: signals


def slow(match: str, after: int = 0) -> dict[str, Any]:
    return {"match": match, "action": "delay", "delay_s": 2.0, "after": after}


def signalled(*numbers: int) -> Callable[[Scene, Any], None]:
    """Send the signals once the scripted stage is reached, each when the one before has arrived."""

    def during(scene: Scene, process: Any) -> None:
        until(lambda: sum(scene.server.fired()) > 0, process)
        for number in numbers:
            until(lambda: "ShdPnd:\t0000000000000000" in Path(f"/proc/{process.pid}/status").read_text(), process)
            process.send_signal(number)

    return during


SIGNALS = ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129))
UPLOAD = {"match": "POST /collections/*/snapshots/upload*", "action": "slow_restore", "delay_s": 2.0}
STAGES: Sequence[tuple[Sequence[str], str, dict[str, Any]]] = (
    (BACKUP, "survey", slow("GET /collections")),
    (BACKUP, "creation", slow("POST /collections/*/snapshots")),
    (BACKUP, "download", slow("GET /collections/*/snapshots/*")),
    (BACKUP, "clean-up", slow("DELETE /collections/*/snapshots/*")),
    (RESTORE, "safety copy", slow("POST /collections/*/snapshots")),
    (RESTORE, "upload", slow("POST /collections/*/snapshots/upload*")),
    (RESTORE, "recovery", UPLOAD),
    (RESTORE, "comparison", slow("POST /collections/discussions/snapshots", after=1)),
    (RESTORE, "aliases", slow("POST /collections/aliases")),
)
SIGNALLED = tuple(
    Case(
        "P04", f"{signal.Signals(number).name} {times} in the {stage} of a {run[0]}", run, (code,), ("Interrupted",),
        script=(script,), during=signalled(*[number] * (2 if times == "twice" else 1)),
        world=one_backup if run is BACKUP else one_changed, also=("G5", "G6"),
    )
    for run, stage, script in STAGES
    for number, code in SIGNALS
    for times in ("once", "twice")
)  # fmt: skip


# --- P05: streams


def without(*streams: int) -> Callable[[], None]:
    def closed() -> None:
        for stream in streams:
            os.close(stream)

    return closed


def onto(opened: Callable[[], int], *streams: int) -> Callable[[], None]:
    def replaced() -> None:
        descriptor = opened()
        for stream in streams:
            os.dup2(descriptor, stream)

    return replaced


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def reader_that_left() -> int:
    reading, write = os.pipe()
    os.close(reading)
    return write


STREAMS = {
    "standard output is closed": without(1),
    "all streams are closed": without(0, 1, 2),
    "the reader of the output has left": onto(reader_that_left, 1),
    "the readers of output and errors have left": onto(reader_that_left, 1, 2),
    "output and errors go to a full disk": onto(full_device, 1, 2),
}
SPOKEN = tuple(
    Case(
        "P05", f"{fact} in {' '.join(run)}", run, (0,), options={"preexec_fn": streams},
        world=one_changed if "{backup}" in run else one_backup, also=("G2", "G5"),
    )
    for fact, streams in STREAMS.items()
    for run in (BACKUP, ("backup", "--json"), RESTORE, ("verify", "{backup}"))
)  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full and /proc")
@pytest.mark.parametrize(("case", "kind"), parameters((*SIGNALLED, *SPOKEN)))
def test_ends(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)


@pytest.mark.fault("P05")
@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["show", "latest"], ["config", "show"]])
def test_a_result_that_a_full_disk_did_not_take_is_no_success(
    embedded_server: RunningServer, tmp_path: Path, words: Sequence[str]
) -> None:
    scene = Scene(embedded_server, tmp_path / "scene")
    one_backup(scene)
    process = scene.line.start(*words, preexec_fn=onto(full_device, 1))
    ran = watch(process, 120, None).ran
    assert ran.code == 2, ran
    assert "No space left on device" in ran.err
    assert "Traceback" not in ran.err
    ended = watch(scene.line.start(*words, preexec_fn=onto(reader_that_left, 1)), 120, None).ran
    assert ended.code == 0, ended
    scene.close()


@pytest.mark.fault("P05")
def test_a_failure_keeps_its_code_when_its_words_go_to_a_full_disk(
    embedded_server: RunningServer, tmp_path: Path
) -> None:
    scene = Scene(embedded_server, tmp_path / "scene")
    for opened in (full_device, reader_that_left):
        ran = watch(scene.line.start("show", "latest", preexec_fn=onto(opened, 1, 2)), 120, None).ran
        assert ran.code == 2, ran
        ran = watch(scene.line.start("backup", env={"QDRANT_PORT": "9"}, preexec_fn=onto(opened, 2)), 120, None).ran
        assert ran.code == 1, ran
    scene.close()
