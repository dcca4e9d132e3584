"""Load and soak: many collections, and many backups in a row of a server that never rests, on a network that breaks.

Too long for `make test`; `make faults` runs them.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.harness.guarantees import PEAK_BYTES
from faults.harness.scene import Scene
from faults.harness.watched import watch
from support.relay import Answer, Close, DropReply, FlipByte, Reset, Rule
from support.restoring import Lab, path_of, plain_config, points_of
from support.servers import STARTERS, RunningServer

pytestmark = [pytest.mark.load, pytest.mark.timeout(3600)]

COLLECTIONS = 200
BACKUPS = 60
SLACK_BYTES = 48 * 2**20
SMALL_LOG = {"wal_config": {"wal_capacity_mb": 1}}
UNAVAILABLE = Answer(503, b'{"status":{"error":"busy"}}', (("retry-after", "1"),))
WRITTEN = ("discussions", "conventions", "code-patterns")


def broken_network(dice: random.Random) -> list[Rule]:
    """What goes wrong in one round; each of it in a request that every backup makes."""
    name = dice.choice(WRITTEN)
    download, create = f"GET /collections/{name}/snapshots/*", f"POST /collections/{name}/snapshots*"
    at = dice.randrange(60_000)
    return dice.choice(
        [
            [],
            [Rule(download, Reset(at))],
            [Rule(download, Close(at))],
            [Rule(download, FlipByte(at))],
            [Rule(create, DropReply())],
            [Rule(create, UNAVAILABLE)],
            [Rule("GET /collections", Answer(502))],
            [Rule(download, Reset(at), times=2)],
        ]
    )


@contextmanager
def writing(lab: Lab, seed: int) -> Iterator[list[int]]:
    """Upserts and deletes without a pause; how many there were, once it has ended."""
    stop, rounds, failures = threading.Event(), [0], list[BaseException]()

    def write() -> None:
        dice = random.Random(seed)
        try:
            while not stop.is_set():
                name = dice.choice(WRITTEN)
                lab.put(name, points_of(5, seed=dice.randrange(10**6), first=dice.randrange(300)))
                doomed = [dice.randrange(1, 300) | 1 for _ in range(3)]
                lab.call("POST", path_of(name, "points/delete?wait=true"), {"points": doomed})
                rounds[0] += 1
        except BaseException as error:  # a writer that stopped would let the test pass for the wrong reason
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield rounds
    finally:
        stop.set()
        thread.join(120)
    assert not failures, failures


def memory_bytes() -> int:
    """This process's resident memory."""
    gc.collect()
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def handles() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    server = STARTERS[request.param](tmp_path / "server")
    made = Scene(server, tmp_path / "scene")
    yield made
    made.close()
    server.stop()


@pytest.fixture
def other(scene: Scene, tmp_path: Path) -> Iterator[RunningServer]:
    """Another server of the same kind, to restore to."""
    server = STARTERS[scene.server.kind](tmp_path / "other")
    yield server
    server.stop()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_sixty_backups_of_a_busy_server_through_a_broken_network_all_restore(
    scene: Scene, other: RunningServer, fault_seed: int
) -> None:
    dice = random.Random(fault_seed)
    for name in WRITTEN:
        scene.lab.make(name, points_of(100, seed=dice.randrange(100)), {**plain_config(), **SMALL_LOG})
    relay = scene.through_relay()
    codes: list[int] = []
    grown: list[tuple[int, int]] = []
    with writing(scene.lab, fault_seed) as rounds:
        for number in range(BACKUPS):
            relay.rules[:] = broken_network(dice)
            ran = scene.line.inside("backup")
            assert ran.code in (0, 1, 2, 5), ran
            relay.assert_all_fired()
            codes.append(ran.code)
            if number in (BACKUPS // 3, BACKUPS - 1):
                grown.append((memory_bytes(), handles()))
    assert rounds[0] > BACKUPS
    assert codes.count(0) > BACKUPS // 2, codes
    (early_bytes, early_handles), (late_bytes, late_handles) = grown
    assert late_bytes - early_bytes < SLACK_BYTES
    assert late_handles <= early_handles
    assert scene.without_faults().inside("backup").code == 0
    assert scene.lab.left_on_server() == []
    assert scene.line.wrecks() == []
    assert list(scene.temporary.iterdir()) == []
    assert len(scene.line.published()) == codes.count(0) + 1
    everything_restores(scene, other)


def everything_restores(scene: Scene, other: RunningServer) -> None:
    """Every backup that is listed passes `verify --content`, and restores onto another server as it says."""
    line = scene.without_faults()
    there = {"QDRANT_PORT": str(other.port)}
    for backup in line.inside("list", "--json").ok().json:
        line.inside("verify", backup["id"], "--content").ok()
        line.inside("restore", backup["id"], "--force", "--no-safety", env=there).ok()
        shown = line.inside("show", backup["id"], "--json").ok().json
        for name, entry in shown["collections"].items():
            status, answer = other.call("POST", path_of(name, "points/count"), {"exact": True})
            assert (status, answer["result"]["count"]) == (200, entry["records"]), (backup["id"], name)
        shutil.rmtree(backup["path"])


def test_two_hundred_collections_are_backed_up_and_restored_in_bounded_memory(scene: Scene) -> None:
    names = [f"memory-{number:03}" for number in range(COLLECTIONS)]
    for number, name in enumerate(names):
        scene.lab.make(name, points_of(3, seed=number), {**plain_config(), **SMALL_LOG})
    wanted = scene.lab.state()
    made = watch(scene.line.start("backup"), 1500, None)
    assert made.ran.code == 0, made.ran
    for name in names[::3]:
        scene.lab.delete(name)
    for name in names[1::3]:
        scene.lab.put(name, points_of(2, seed=5, first=50))
    restored = watch(scene.line.start("restore", "latest", "--force"), 1800, None)
    assert restored.ran.code == 0, restored.ran
    assert scene.lab.state() == wanted
    assert max(made.peak_bytes or 0, restored.peak_bytes or 0) < PEAK_BYTES
    assert scene.lab.left_on_server() == []
    scene.line.run("verify", "latest", "--content").ok()
