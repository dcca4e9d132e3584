"""Q09: the server is killed while it recovers, and comes back with whatever lies on its disk."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.harness.case import Case
from faults.harness.play import play
from faults.harness.scene import Scene
from faults.harness.worlds import NAME, lost_points, one_changed
from support.command import until
from support.relay import Delay, Rule
from support.servers import KINDS, STARTERS, RunningServer

pytestmark = [pytest.mark.timeout(900)]

UPLOAD = f"POST /collections/{NAME}/snapshots/upload[?]wait=true*"
WRITE = f"PUT /collections/{NAME}/points[?]*"
RESTORE = ("restore", "{backup}", "--force")
RECOVER = ("recover", "--from", "{backup}", "--deleted", "--yes")
PATIENT = {"QDRANT_BACKUP_SERVER_WAIT": "120", "SNAPSHOT_UPLOAD_TIMEOUT": "30"}
HELD_S = 3.0
"""How long the relay holds the upload back, for strace to have its hands on the server."""


@pytest.fixture
def lone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    made = STARTERS[request.param](tmp_path / "server")
    yield made
    made.stop()


def revive(scene: Scene, process: Any) -> None:
    """Wait for the server's end, and start it on what it left."""
    until(lambda: not scene.server.alive, process)
    assert not scene.server.alive, "the server was never killed"
    scene.server.restart()


def bury(scene: Scene, process: Any) -> None:
    """Wait for the server's end; it comes back only when the command has ended."""
    until(lambda: not scene.server.alive, process)
    assert not scene.server.alive, "the server was never killed"


AFTERWARDS = {"comes back at once": revive, "stays away": bury}


def scripted(stage: str, match: str, after: int) -> Callable[[Scene], None]:
    return lambda scene: scene.server.script({"match": match, "action": "die", "stage": stage, "after": after})


DEATHS = [
    pytest.param(run, stage, how, id=f"{run[0]} at {stage} and it {how}")
    for run, stages in ((RESTORE, ("request", "before_drop", "after_drop", "loaded")), (RECOVER, ("request",)))
    for stage in stages
    for how in AFTERWARDS
]


@pytest.mark.fault("Q09", quick=False)
@pytest.mark.parametrize("lone", ["embedded"], indirect=True)
@pytest.mark.parametrize(("run", "stage", "how"), DEATHS)
def test_an_embedded_server_that_dies_at_a_stage(
    lone: RunningServer, tmp_path: Path, run: tuple[str, ...], stage: str, how: str
) -> None:
    restores = run is RESTORE
    path = f"/collections/{NAME}/" + ("snapshots/upload" if restores else "points")
    case = Case(
        "Q09",
        f"{run[0]} at {stage}",
        run,
        (0, 1, 2, 3, 4),
        world=one_changed if restores else lost_points,
        damage=scripted(stage, f"{'POST' if restores else 'PUT'} {path}", int(restores)),
        during=AFTERWARDS[how],
        settings=PATIENT if how == "comes back at once" else {"QDRANT_BACKUP_SERVER_WAIT": "3"},
    )
    play(case, lone, tmp_path / "scene")


def seen(scene: Scene, words: str) -> bool:
    assert scene.relay is not None
    return any(words in line for line in scene.relay.seen)


def kill_on_the_way(route: str, delay_s: float, how: str) -> Callable[[Scene, Any], None]:
    """SIGKILL so long after the request has reached the relay."""

    def during(scene: Scene, process: Any) -> None:
        until(lambda: seen(scene, route), process)
        time.sleep(delay_s)
        assert process.poll() is None
        scene.server.kill()
        AFTERWARDS[how](scene, process)

    return during


@pytest.mark.fault("Q09", quick=False)
@pytest.mark.parametrize("lone", KINDS, indirect=True)
@pytest.mark.parametrize("moment", range(5))
@pytest.mark.parametrize(
    ("run", "route"), [(RESTORE, "snapshots/upload?wait"), (RECOVER, "points?wait")], ids=["restore", "recover"]
)
def test_a_server_that_is_killed_some_time_after_the_request(
    lone: RunningServer, tmp_path: Path, run: tuple[str, ...], route: str, moment: int, fault_seed: int
) -> None:
    dice = random.Random(f"{fault_seed} {moment} {run[0]} {lone.kind}")
    held_s = 0.2
    how = dice.choice(list(AFTERWARDS))
    case = Case(
        "Q09",
        f"{run[0]} killed",
        run,
        (0, 1, 2, 3, 4),
        network=(Rule(UPLOAD if run is RESTORE else WRITE, Delay(held_s)),),
        world=one_changed if run is RESTORE else lost_points,
        during=kill_on_the_way(route, held_s + (0.0, 0.01, 0.03)[moment % 3] + dice.uniform(0, 0.02), how),
        settings=PATIENT if how == "comes back at once" else {"QDRANT_BACKUP_SERVER_WAIT": "3"},
    )
    play(case, lone, tmp_path / "scene")


STRIKES = {
    "mkdir": (1, 6, 15, 30),
    "ftruncate": (1, 10, 25),
    "rename": (1, 12, 25),
    "renameat": (1, 3, 8),
    "unlinkat": (1, 4),
    "rmdir": (1, 4),
    "fsync": (1, 4),
}
"""What a recovery does to the disk (1.18.3, one shard); strace counts in each thread on its own."""


@contextlib.contextmanager
def struck(server: RunningServer, call: str, number: int) -> Iterator[None]:
    """From now on the thread that makes its so-manieth call of this kind takes the whole server with it."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    command = ["strace", "-f", "-qq", "-e", "signal=none", "-e", f"trace={call}", "-e", inject, "-p", str(server.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait(30)


def traced(server: RunningServer) -> bool:
    """Whether every thread of the server has a tracer."""
    states: list[str] = []
    for path in Path(f"/proc/{server.pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):  # A thread that has ended meanwhile needs none.
            states.append(path.read_text())
    return all("TracerPid:\t0\n" not in state for state in states)


def killed_at(call: str, number: int) -> Callable[[Scene, Any], None]:
    def during(scene: Scene, process: Any) -> None:
        until(lambda: seen(scene, "snapshots/upload?wait"), process)
        with struck(scene.server, call, number):
            until(lambda: traced(scene.server), process)
            until(lambda: not scene.server.alive, process)
        revive(scene, process)

    return during


@pytest.mark.fault("Q09", quick=False)
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("lone", [pytest.param("real", marks=pytest.mark.real)], indirect=True)
@pytest.mark.parametrize(
    ("call", "number"), [(call, number) for call, numbers in STRIKES.items() for number in numbers]
)
def test_a_real_server_that_is_killed_at_a_system_call_of_the_recovery(
    lone: RunningServer, tmp_path: Path, call: str, number: int
) -> None:
    case = Case(
        "Q09",
        f"killed at {call} number {number}",
        RESTORE,
        (0, 1, 3, 4),
        network=(Rule(UPLOAD, Delay(HELD_S)),),
        world=one_changed,
        during=killed_at(call, number),
        settings=PATIENT,
    )
    play(case, lone, tmp_path / "scene")
