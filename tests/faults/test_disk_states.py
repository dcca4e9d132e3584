"""D: a disk that is small, read-only, forbidden, or gone."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from faults.harness.case import Case
from faults.harness.disks import Mounts, attribute, can_mount, obey_modes, supports_attributes
from faults.harness.play import play
from faults.harness.scene import Scene
from faults.harness.worlds import one_backup, one_changed
from support.command import until
from support.servers import RunningServer
from support.worlds import small_world

pytestmark = pytest.mark.timeout(3600)

needs_mounts = pytest.mark.skipif(not can_mount(), reason="needs mounts (root, unshare)")

AMPLE = "size=256m,nr_inodes=100k"


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    made = Mounts()
    yield made
    made.close()


def on_memory(mounts: Mounts, place: Path, options: str, world: Callable[[Scene], None]) -> Callable[[Scene], None]:
    """The world, in a backup directory that is a filesystem of its own with these options; `room` is one of ours.

    A filesystem cannot be made smaller than what it holds, so `room=384k` is so much more than that.
    """

    def make(scene: Scene) -> None:
        (place / "backups").mkdir(mode=0o700)
        mounts.memory(place / "backups", AMPLE)
        world(scene)
        given = options
        if options.startswith("room="):
            room_kb = int(options[len("room=") :].rstrip("k"))
            given = f"size={mounts.used_kb(place / 'backups') + room_kb}k"
        mounts.run("mount", "-o", f"remount,{given}", place / "backups")

    return make


def full_disk(mounts: Mounts, server: RunningServer, place: Path, options: str, run: Sequence[str]) -> int:
    """Play the command on a disk of that size; its exit code."""
    world = one_changed if run[0] == "restore" else one_backup
    ended: list[int] = []

    def mend(_: Scene) -> None:
        mounts.run("mount", "-o", f"remount,{AMPLE}", place / "backups")

    code = {"backup": 3, "restore": 8}[run[0]]
    case = Case(
        "D01", options, run, (0, code), world=on_memory(mounts, place, options, world), mend=mend,
        also=("G4", "G5") if run[0] == "restore" else ("G5",),
    )  # fmt: skip
    try:
        ended.append(play(case, server, mounts.view(place)).ran.code)
    finally:
        server.empty()
    return ended[0]


SIZES_KB = (64, 128, 192, 256, 384, 512, 640, 768, 896, 1024, 1280, 1536, 2048, 3072, 8192, 16384, 24576, 65536)
INODES = (9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 40, 45, 50, 60, 80, 120, 400)


@needs_mounts
@pytest.mark.fault("D01")
@pytest.mark.parametrize("what", ["size", "inodes"])
def test_a_disk_that_is_full_at_any_step(
    mounts: Mounts, embedded_server: RunningServer, tmp_path: Path, fault_seed: int, full: bool, what: str
) -> None:
    every = [f"size={size}k" for size in SIZES_KB] if what == "size" else [f"nr_inodes={many}" for many in INODES]
    chosen = every if full else [random.Random(fault_seed).choice(every[:-1])]
    ended = [
        full_disk(mounts, embedded_server, tmp_path / options, options, ("backup",))
        for options in chosen
        if not (tmp_path / options).mkdir()
    ]
    if full:
        assert (ended[0], ended[-1]) == (3, 0)


@needs_mounts
@pytest.mark.fault("D01", quick=False)
def test_a_disk_that_has_no_room_for_the_safety_copy(
    mounts: Mounts, embedded_server: RunningServer, tmp_path: Path
) -> None:
    ended: list[int] = []
    for size in (0, 128, 384, 768, 1536, 2048, 4096, 8192, 24576, 98304):
        options = f"room={size}k"
        (tmp_path / options).mkdir()
        ended.append(
            full_disk(mounts, embedded_server, tmp_path / options, options, ("restore", "{backup}", "--force"))
        )
    assert (ended[0], ended[-1]) == (8, 0)


BACKUP, RESTORE = ("backup",), ("restore", "{backup}", "--force")


@needs_mounts
@pytest.mark.fault("D07")
@pytest.mark.parametrize(("run", "code"), [(BACKUP, 2), (RESTORE, 2)], ids=["backup", "restore"])
def test_a_disk_that_is_read_only(
    mounts: Mounts, embedded_server: RunningServer, tmp_path: Path, run: Sequence[str], code: int
) -> None:
    place = tmp_path / "scene"
    place.mkdir()
    world = on_memory(mounts, place, "ro", one_changed if run[0] == "restore" else one_backup)

    def mend(_: Scene) -> None:
        mounts.run("mount", "-o", "remount,rw", place / "backups")

    says = ("Read-only file system", "/backups")
    case = Case("D07", "read-only", run, (code,), says, world=world, mend=mend, also=("G3", "G4", "G5"))
    play(case, embedded_server, mounts.view(place))


def forbid(scene: Scene) -> None:
    scene.line.backups.chmod(0o500)


def allow(scene: Scene) -> None:
    scene.line.backups.chmod(0o700)


@pytest.mark.fault("D07")
@pytest.mark.parametrize(("run", "code"), [(BACKUP, 2), (RESTORE, 8)], ids=["backup", "restore"])
def test_a_directory_that_may_not_be_written(
    embedded_server: RunningServer, tmp_path: Path, run: Sequence[str], code: int
) -> None:
    case = Case(
        "D07", "no access", run, (code,), ("Permission denied", "/backups"),
        world=one_changed if run[0] == "restore" else one_backup, damage=forbid, mend=allow,
        options={"preexec_fn": obey_modes}, also=("G3", "G4", "G5"),
    )  # fmt: skip
    play(case, embedded_server, tmp_path / "scene")


@pytest.mark.fault("D07")
@pytest.mark.parametrize(("run", "code"), [(BACKUP, 2), (RESTORE, 8)], ids=["backup", "restore"])
def test_a_directory_that_not_even_root_may_write(
    embedded_server: RunningServer, tmp_path: Path, run: Sequence[str], code: int
) -> None:
    if not supports_attributes(tmp_path):
        pytest.skip("needs chattr (root, ext4)")
    case = Case(
        "D07", "immutable", run, (code,), ("Operation not permitted", "/backups"),
        world=one_changed if run[0] == "restore" else one_backup,
        damage=lambda scene: attribute("+i", scene.line.backups), mend=lambda scene: attribute("-i", scene.line.backups),
        also=("G3", "G4", "G5"),
    )  # fmt: skip
    try:
        play(case, embedded_server, tmp_path / "scene")
    finally:
        attribute("-i", tmp_path / "scene" / "backups")


@pytest.mark.fault("D07")
def test_a_config_file_that_may_not_be_replaced(embedded_server: RunningServer, tmp_path: Path) -> None:
    if not supports_attributes(tmp_path):
        pytest.skip("needs chattr (root, ext4)")
    env = tmp_path / "scene" / "install" / "docker"

    def world(scene: Scene) -> None:
        scene.install()
        one_changed(scene)
        (env / ".env").write_text("QDRANT_PORT=1\n", "utf-8")

    case = Case(
        "D07", "immutable config", (*RESTORE, "--restore-config"), (4,), ("Operation not permitted", ".env"), world=world,
        damage=lambda _: attribute("+i", env), mend=lambda _: attribute("-i", env), also=("G4", "G5", "G6"),
    )  # fmt: skip
    try:
        play(case, embedded_server, tmp_path / "scene")
    finally:
        attribute("-i", env)


SLOW_CREATION = {"match": "POST /collections/*/snapshots", "action": "delay", "delay_s": 5.0}


def gone_in_the_middle(then: Callable[[Scene], object]) -> Callable[[Scene, Any], None]:
    """Do it when the server makes the snapshot: the backup's directory is there, and nothing in it."""

    def during(scene: Scene, process: Any) -> None:
        until(lambda: sum(scene.server.fired()) > 0, process)
        process.send_signal(signal.SIGSTOP)
        then(scene)
        process.send_signal(signal.SIGCONT)

    return during


@needs_mounts
@pytest.mark.fault("D10")
def test_a_disk_that_is_unmounted_during_a_run(mounts: Mounts, embedded_server: RunningServer, tmp_path: Path) -> None:
    place = tmp_path / "scene"
    place.mkdir()

    def unmount(_: Scene) -> None:
        mounts.run("umount", "--lazy", place / "backups")

    def mend(scene: Scene) -> None:
        assert list(scene.line.backups.iterdir()) == [], "what was not the disk was written to"
        mounts.memory(place / "backups", AMPLE)

    case = Case(
        "D10", "unmounted", BACKUP, (2, 6), world=on_memory(mounts, place, AMPLE, nothing_earlier), mend=mend,
        script=(SLOW_CREATION,), during=gone_in_the_middle(unmount), also=("G5",),
    )  # fmt: skip
    play(case, embedded_server, mounts.view(place))


def nothing_earlier(scene: Scene) -> None:
    """Several collections, so that work goes on afterwards; no earlier backup, which would be gone with the disk."""
    small_world(scene.lab)
    scene.line.backups.mkdir(mode=0o700, parents=True, exist_ok=True)


@pytest.mark.fault("D10")
def test_a_backup_directory_that_is_deleted_during_a_run(embedded_server: RunningServer, tmp_path: Path) -> None:
    def mend(scene: Scene) -> None:
        assert not scene.line.backups.exists(), "it was made again"

    case = Case(
        "D10", "deleted", BACKUP, (2, 6), world=nothing_earlier, mend=mend, script=(SLOW_CREATION,),
        during=gone_in_the_middle(lambda scene: shutil.rmtree(scene.line.backups)), also=("G5",),
    )  # fmt: skip
    play(case, embedded_server, tmp_path / "scene")
