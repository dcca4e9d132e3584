"""Q02 and Q07 on a real server whose own disk is full."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.harness.case import REAL, Case
from faults.harness.play import play
from faults.harness.scene import Scene
from faults.harness.worlds import NAME, changed
from support.disks import cannot_mount, fill, free, start_on_small_disk
from support.restoring import plain_config, points_of
from support.servers import RunningServer

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

RESTORE = ("restore", "{backup}", "--force")
UNTOUCHED = ("Everything is as it was before", "untouched")
NOTHING, SNAPSHOTS_FAIL, UPLOADS_FAIL = 0, 100_000, 400_000
"""How many bytes are left for the fault to strike where it should: an archive of the world takes 200 KB, unpacked twice that."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[RunningServer]:
    reason = cannot_mount(tmp_path / "server")
    if reason:
        pytest.skip(reason)
    made = start_on_small_disk(tmp_path / "server")
    yield made
    made.stop()


def world(scene: Scene) -> None:
    config = {**plain_config(), "wal_config": {"wal_capacity_mb": 1}}
    scene.lab.make(NAME, points_of(300), config, indexes={"group": "keyword"})
    changed(scene, NAME)


def filled(left_bytes: int) -> Callable[[Scene], None]:
    return lambda scene: fill(scene.server, left_bytes)


@dataclasses.dataclass(frozen=True)
class Full:
    """A command while so much is left of the server's disk: how it ends, and how when the server dies of that disk."""

    row: str
    fact: str
    run: tuple[str, ...]
    left_bytes: int
    codes: tuple[int, ...]
    words: tuple[str, ...]
    died: tuple[int, ...]

    def case(self) -> Case:
        return Case(
            self.row,
            self.fact,
            self.run,
            (*self.codes, *self.died),
            world=world,
            damage=filled(self.left_bytes),
            mend=lambda scene: free(scene.server),
            settings={"QDRANT_BACKUP_SERVER_WAIT": "5"},
            on=REAL,
            quick=False,
        )


SNAPSHOT = ("backup", "--method", "snapshot")
FULL = [
    Full("Q02", "full for snapshots", SNAPSHOT, SNAPSHOTS_FAIL, (2,), ("No space left on device",), (1,)),
    Full("Q02", "full and told to snapshot", SNAPSHOT, NOTHING, (2,), ("No space left on device",), (1,)),
    Full("Q02", "full to the last byte", ("backup",), NOTHING, (2, 5), ("streaming instead", "No space left"), (1,)),
    Full(
        "Q02", "full for snapshots but not for streams", ("backup",), SNAPSHOTS_FAIL, (0,), ("streaming instead",), (1,)
    ),
    Full("Q07", "full for snapshots and uploads", RESTORE, SNAPSHOTS_FAIL, (4,), UNTOUCHED, (3, 8)),
    Full("Q07", "full without a safety copy", (*RESTORE, "--no-safety"), NOTHING, (4,), UNTOUCHED, (3,)),
    Full("Q07", "full for safety copies", RESTORE, NOTHING, (8,), ("Nothing was changed",), (3,)),
    Full("Q07", "full for uploads", RESTORE, UPLOADS_FAIL, (4,), UNTOUCHED, (3, 8)),
]
ROWS = {"Q02": pytest.mark.fault("Q02", quick=False), "Q07": pytest.mark.fault("Q07", quick=False)}


@pytest.mark.parametrize("full_disk", [pytest.param(each, id=each.fact, marks=ROWS[each.row]) for each in FULL])
def test_a_full_disk_of_the_server(small_disk: RunningServer, tmp_path: Path, full_disk: Full) -> None:
    first = small_disk.pid
    ran = play(full_disk.case(), small_disk, tmp_path / "scene").ran
    if small_disk.pid == first:
        assert ran.code in full_disk.codes, ran
        assert all(word in ran.out + ran.err for word in full_disk.words), ran
