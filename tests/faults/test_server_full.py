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
NOTHING, SNAPSHOTS_FAIL, UPLOADS_FAIL = 0, 100_000, 400_000
"""How many bytes are left for the fault to strike where it should: an archive of the world takes 200 KB, unpacked twice that."""


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("small-disk")
    reason = cannot_mount(directory)
    if reason:
        pytest.skip(reason)
    made = start_on_small_disk(directory)
    yield made
    made.stop()


def world(scene: Scene) -> None:
    config = {**plain_config(), "wal_config": {"wal_capacity_mb": 1}}
    scene.lab.make(NAME, points_of(300), config, indexes={"group": "keyword"})
    changed(scene, NAME)


def filled(left_bytes: int) -> Callable[[Scene], None]:
    return lambda scene: fill(scene.server, left_bytes)


def case(row: str, fact: str, run: tuple[str, ...], code: int, left_bytes: int, *says: str) -> Case:
    made = Case(row, fact, run, (code,), says, world=world, damage=filled(left_bytes), on=REAL, quick=False)
    return dataclasses.replace(made, mend=lambda scene: free(scene.server))


CASES = [
    case("Q02", "full for snapshots", ("backup", "--method", "snapshot"), 2, SNAPSHOTS_FAIL, "No space left on device"),
    case("Q02", "full and told to snapshot", ("backup", "--method", "snapshot"), 2, NOTHING, "No space left on device"),
    case("Q02", "full to the last byte", ("backup",), 5, NOTHING, "could not be streamed", "No space left on device"),
    case("Q02", "full for snapshots but not for streams", ("backup",), 0, SNAPSHOTS_FAIL, "streaming instead"),
    case("Q07", "full for snapshots and uploads", RESTORE, 4, SNAPSHOTS_FAIL, "Everything is as it was", "untouched"),
    case(
        "Q07",
        "full without a safety copy",
        (*RESTORE, "--no-safety"),
        4,
        NOTHING,
        "Everything is as it was",
        "untouched",
    ),
    case("Q07", "full for safety copies to the last byte", RESTORE, 8, NOTHING, "Nothing was changed"),
    case("Q07", "full for uploads", RESTORE, 4, UPLOADS_FAIL, "Everything is as it was before", "untouched"),
]
RESTORES = {"Q02": pytest.mark.fault("Q02", quick=False), "Q07": pytest.mark.fault("Q07", quick=False)}


@pytest.mark.parametrize("case", [pytest.param(each, id=each.fact, marks=RESTORES[each.row]) for each in CASES])
def test_a_full_disk_of_the_server(small_disk: RunningServer, tmp_path: Path, case: Case) -> None:
    try:
        play(case, small_disk, tmp_path / "scene")
    finally:
        free(small_disk)
        small_disk.empty()
