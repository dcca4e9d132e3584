"""N14: one request in ten is reset, somewhere, while fifty collections are backed up; twenty times."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.harness.case import Case
from faults.harness.guarantees import broken_promises
from faults.harness.scene import Scene
from support.relay import DropReply, Refuse, Reset, Rule
from support.restoring import plain_config, points_of
from support.servers import STARTERS

pytestmark = [pytest.mark.fault("N14", quick=False), pytest.mark.timeout(7200)]

COLLECTIONS = 50
SEEDS = 20
SHARE = 0.1
SMALL_LOG = {"wal_config": {"wal_capacity_mb": 1}}
CASE = Case("N14", "a tenth of all requests reset", ("backup",), (0, 1, 2), also=("G2", "G5"))


@dataclasses.dataclass
class Storm(Rule):
    """Resets a share of all requests: before the server hears of them, behind its answer, or somewhere in that."""

    dice: random.Random = dataclasses.field(default_factory=random.Random)

    def meets(self, line: str) -> bool:
        if self.dice.random() >= SHARE:
            return False
        # Those that make or delete something are cut off behind it: what never arrived fails a run, which is N02.
        choices = [DropReply(), Reset(self.dice.randrange(60_000)), Reset(self.dice.randrange(200))]
        self.action = self.dice.choice(choices if line.startswith(("POST", "DELETE")) else [*choices, Refuse()])
        self.fired += 1
        return True


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    server = STARTERS[request.param](tmp_path / "server")
    made = Scene(server, tmp_path / "scene")
    for number in range(COLLECTIONS):
        made.lab.make(f"memory-{number:02}", points_of(3, seed=number), {**plain_config(), **SMALL_LOG})
    yield made
    made.close()
    server.stop()


def test_whatever_is_reset_a_backup_is_whole_or_there_is_none(scene: Scene, fault_seed: int) -> None:
    relay = scene.through_relay()
    wrong: list[str] = []
    codes: list[int] = []
    resets = 0
    for seed in range(fault_seed, fault_seed + SEEDS):
        before = scene.before()
        storm = Storm("*", Refuse(), None, dice=random.Random(seed))
        relay.rules[:] = [storm]
        watched = scene.run(CASE)
        relay.rules.clear()
        assert storm.fired
        resets += storm.fired
        broken = broken_promises(scene, CASE, before, watched)
        wrong += [f"seed {seed}: {line}: {watched.ran}" for line in broken]
        codes.append(watched.ran.code)
        for backup in scene.line.published():
            shutil.rmtree(backup)
    assert not wrong, "\n".join(wrong)
    assert 0 in codes, codes
    assert resets > SEEDS * COLLECTIONS // 4
