"""Q: what a server does to a backup: no room, snapshots that are not what they should be, peers, names, leftovers."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, Case, parameters
from faults.harness.scene import Scene
from faults.harness.snapshots import offered, without_shards
from faults.harness.worlds import NAME, one_backup, one_changed
from support.relay import Answer, DropReply, Refuse, Rewrite, Rule
from support.restoring import path_of, points_of

HERE = f"/collections/{NAME}"
CREATE = f"POST {HERE}/snapshots[?]wait=true"
LIST = f"GET {HERE}/snapshots"
OWN = f"{HERE}/snapshots/{NAME}-*.snapshot"
DOWNLOAD = f"GET {OWN}"
DELETE = f"DELETE {OWN}[?]wait=true"
STREAM = f"GET {HERE}/shards/0/snapshot"
RESTORE = ("restore", "{backup}", "--force")
SUM = rb'"checksum":"[0-9a-f]{64}"'
NO_SPACE = "Service internal error: No space left on device (os error 28)"


def error(status: int, text: str) -> Answer:
    return Answer(status, json.dumps({"status": {"error": text}, "time": 0}).encode())


def result(value: Any) -> Answer:
    return Answer(200, json.dumps({"result": value, "status": "ok", "time": 0}).encode())


def two_shards(scene: Scene) -> None:
    config = {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2}
    scene.lab.make(NAME, points_of(20), config)


FULL = [
    case
    for status, text in ((500, NO_SPACE), (507, "Insufficient storage: no room for the snapshot"))
    for case in (
        Case(
            "Q02",
            f"{status} when a snapshot is made",
            ("backup", "--method", "snapshot"),
            (2,),
            (text,),
            network=(Rule(CREATE, error(status, text), times=None),),
            world=one_backup,
            on=BOTH,
        ),
        Case(
            "Q02",
            f"{status} when a snapshot is made and streaming helps",
            ("backup",),
            (0,),
            ("streaming instead",),
            network=(Rule(CREATE, error(status, text), times=None),),
            world=one_backup,
            on=BOTH,
        ),
        Case(
            "Q02",
            f"{status} when a safety copy is made",
            RESTORE,
            (8,),
            (text, "--no-safety"),
            network=(Rule(CREATE, error(status, text), times=None), Rule(STREAM, error(500, "no"), times=None)),
            world=one_changed,
        ),
    )
]
SHARDLESS = [
    Case(
        "Q03",
        "a snapshot without its only shard",
        ("backup",),
        (5,),
        ("0 of 1 shards",),
        world=one_backup,
        damage=offered(NAME, lambda archive: without_shards(archive, 0)),
        on=BOTH,
    ),
    Case(
        "Q03",
        "a snapshot without one of two shards",
        ("backup",),
        (5,),
        ("1 of 2 shards",),
        world=two_shards,
        damage=offered(NAME, lambda archive: without_shards(archive, 1)),
        on=BOTH,
    ),
    Case(
        "Q03",
        "a streamed shard without anything",
        ("backup", "--method", "stream"),
        (2, 5),
        network=(Rule(STREAM, Answer(200, bytes(1024)), times=None),),
        world=one_backup,
        on=BOTH,
    ),
]
PEERS = {str(10**18 + number): {"uri": f"http://node-{number}:6335/"} for number in (1, 2, 3)}
ENABLED = result({"status": "enabled", "peer_id": 10**18 + 1, "peers": PEERS})
HALF = result(
    {
        "peer_id": 1,
        "shard_count": 2,
        "local_shards": [{"shard_id": 0, "points_count": 10, "state": "Active"}],
        "remote_shards": [{"shard_id": 1, "peer_id": 2, "state": "Dead"}],
        "shard_transfers": [],
    }
)
CLUSTERS = [
    *(
        Case(
            "Q04",
            f"{run[0]} from several nodes",
            run,
            (7,),
            ("cluster of 3 peers",),
            network=(Rule("GET /cluster", ENABLED, times=None),),
            world=world,
        )
        for run, world in ((("backup",), one_backup), (RESTORE, one_changed))
    ),
    Case(
        "Q04",
        "a node that is down and a key that may not see the nodes",
        ("backup",),
        (7,),
        ("one of 2 peers",),
        network=(
            Rule("GET /cluster", error(403, "Forbidden: Global access is required"), times=None),
            Rule(f"GET {HERE}/cluster", HALF, times=None),
        ),
        world=one_backup,
    ),
]
CHECKSUMS = [
    Case(
        "Q16",
        "no checksum at all",
        ("backup",),
        (0,),
        network=(
            Rule(CREATE, Rewrite(SUM, b'"checksum":null'), times=None),
            Rule(LIST, Rewrite(SUM, b'"checksum":null'), times=None, after=2),
        ),
        world=one_backup,
        on=BOTH,
    ),
    Case(
        "Q16",
        "no field for a checksum",
        ("backup",),
        (0,),
        network=(Rule(CREATE, Rewrite(b",?" + SUM, b""), times=None), Rule(LIST, Rewrite(b",?" + SUM, b""), None, 2)),
        world=one_backup,
    ),
    Case(
        "Q16",
        "a checksum that is listed only later",
        ("backup",),
        (0,),
        network=(Rule(LIST, Rewrite(SUM, b'"checksum":null'), after=2),),
        world=one_backup,
        on=BOTH,
    ),
    Case(
        "Q16",
        "a wrong checksum everywhere",
        ("backup",),
        (5,),
        ("the downloaded snapshot is damaged",),
        network=tuple(
            Rule(route, Rewrite(SUM, b'"checksum":"' + b"0" * 64 + b'"'), times=None, after=after)
            for route, after in ((CREATE, 0), (LIST, 2))
        ),
        world=one_backup,
        on=BOTH,
    ),
    Case(
        "Q16",
        "another checksum in the listing",
        ("backup",),
        (5,),
        ("is not the one that was just created",),
        network=(Rule(LIST, Rewrite(SUM, b'"checksum":"' + b"0" * 64 + b'"'), times=None, after=2),),
        world=one_backup,
        on=BOTH,
    ),
]


def made_by_another(scene: Scene) -> dict[str, Any]:
    """A snapshot that somebody else made, as the server describes it."""
    return scene.lab.call("POST", path_of(NAME, "snapshots?wait=true"))


def somebodys(scene: Scene) -> None:
    made_by_another(scene)


def stale(scene: Scene) -> None:
    """A creation that answers with a snapshot that was there before, changed since."""
    made = made_by_another(scene)
    scene.lab.put(NAME, points_of(3, seed=40, first=500))
    scene.through_relay().rules.append(Rule(CREATE, result(made), times=None))


def taken(scene: Scene) -> None:
    """A creation whose name another one takes in the same second: the listing has another checksum and size."""
    scene.through_relay().rules += [
        Rule(LIST, Rewrite(rb'"checksum":"[0-9a-f]{64}"', b'"checksum":"' + b"f" * 64 + b'"'), times=None, after=2)
    ]


SAME_SECOND = [
    Case(
        "Q17",
        "the answer names a snapshot of before",
        ("backup",),
        (5,),
        ("it was there before",),
        world=one_backup,
        damage=stale,
        on=BOTH,
    ),
    Case(
        "Q17",
        "another takes the name in the same second",
        ("backup",),
        (5,),
        ("made in the same second has taken its name",),
        world=one_backup,
        damage=taken,
        on=BOTH,
    ),
    Case(
        "Q17",
        "somebody's snapshot of this second is there",
        ("backup",),
        (0,),
        world=one_backup,
        damage=somebodys,
        on=BOTH,
    ),
]
LEFT = [
    Case(
        "Q18",
        f"deletion of our snapshot {what}",
        ("backup",),
        (0,),
        ("stays on the server", f"{NAME}-"),
        network=(Rule(DELETE, action, times=None),),
        world=one_backup,
        damage=somebodys,
        on=BOTH,
    )
    for what, action in {
        "fails": error(500, "no"),
        "is denied": error(403, "Forbidden"),
        "says false": result(False),
        "is answered by nobody": Refuse(),
    }.items()
]
LEFT += [
    Case(
        "Q18",
        "deletion whose answer is lost",
        ("backup",),
        (0,),
        silent=("stays on the server",),
        network=(Rule(DELETE, DropReply()),),
        world=one_backup,
        damage=somebodys,
        on=BOTH,
    ),
    Case(
        "Q18",
        "a failed backup whose snapshot cannot be deleted",
        ("backup",),
        (2, 5),
        ("stays on the server",),
        network=(Rule(DOWNLOAD, error(500, "no"), times=None), Rule(DELETE, error(500, "no"), times=None)),
        world=one_backup,
        damage=somebodys,
        on=BOTH,
    ),
    Case(
        "Q18",
        "an uploaded file that cannot be deleted",
        RESTORE,
        (0,),
        ("stays on the server",),
        network=(Rule(f"DELETE {HERE}/snapshots/qdrant-backup-?*.snapshot[?]wait=true", error(500, "no"), times=None),),
        world=one_changed,
        damage=somebodys,
        on=BOTH,
    ),
]
CASES = [
    *FULL,
    *SHARDLESS,
    *CLUSTERS,
    *CHECKSUMS,
    *SAME_SECOND,
    *(dataclasses.replace(case, quick=False) for case in LEFT),
]


@pytest.mark.parametrize(("case", "kind"), parameters(CASES))
def test_backups(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
