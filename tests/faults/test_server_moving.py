"""Q04 and Q15: servers that do not stand still: nodes, writers, collections that come and go while a backup runs."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, REAL, Case, parameters
from faults.harness.play import play
from faults.harness.scene import Scene
from faults.harness.worlds import NAME, one_backup
from support.command import CommandLine, until
from support.relay import Delay, Elsewhere, Rule
from support.restoring import path_of, points_of
from support.servers import STARTERS, RunningServer, start_real
from support.worlds import lab_at, small_world

FIRST = f"POST /collections/{NAME}/snapshots[?]wait=true"
HERE = f"/collections/{NAME}"


def writing(scene: Scene, process: Any) -> None:
    """Upserts, deletions and new payload, to all collections, from before the command's first question to its end."""
    failures: list[BaseException] = []

    def write() -> None:
        dice = random.Random(1)
        try:
            while process.poll() is None:
                name = dice.choice((NAME, "conventions", "code-patterns"))
                scene.lab.put(name, points_of(5, seed=dice.randrange(10**6), first=dice.randrange(300)))
                body = {"points": [dice.randrange(1, 300) | 1 for _ in range(3)]}
                scene.lab.call("POST", path_of(name, "points/delete?wait=true"), body)
        except BaseException as error:  # a writer that stopped would let the case pass for the wrong reason
            failures.append(error)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures, failures


def when_begun(act: Callable[[Scene], object]) -> Callable[[Scene, Any], None]:
    """Does this while the first collection's snapshot is asked for, which the relay holds back meanwhile."""

    def during(scene: Scene, process: Any) -> None:
        relay = scene.relay
        assert relay is not None
        until(lambda: any(f"{HERE}/snapshots?wait" in line for line in relay.seen), process)
        assert process.poll() is None, "the command ended before anything could happen"
        act(scene)

    return during


HELD = (Rule(FIRST, Delay(2.0)),)


def moving(fact: str, act: Callable[[Scene], object], run: tuple[str, ...], code: int, *says: str) -> Case:
    def world(scene: Scene) -> None:
        small_world(scene.lab)

    during = when_begun(act)
    return Case("Q15", fact, run, (code,), says, network=HELD, world=world, during=during, on=BOTH)


CASES = [
    *(
        Case(
            "Q15",
            f"writers never stop and the method is {method}",
            ("backup", "--method", method),
            # What streams beside the optimiser may bring deleted points back, so it is refused when that never rests.
            (0, 2) if method == "stream" else (0,),
            world=lambda scene: small_world(scene.lab),
            during=writing,
            on=BOTH,
        )
        for method in ("snapshot", "stream", "auto")
    ),
    moving(
        "a collection appears",
        lambda scene: scene.lab.make("later", points_of(3)),
        ("backup",),
        0,
        "collection later is not in the backup: it appeared while the backup ran",
    ),
    moving(
        "a collection vanishes",
        lambda scene: scene.lab.delete("code-patterns"),
        ("backup",),
        0,
        "collection code-patterns is not in the backup: it vanished",
    ),
    moving(
        "a collection that was asked for vanishes",
        lambda scene: scene.lab.delete("code-patterns"),
        ("backup", "--collection", NAME, "--collection", "code-patterns"),
        2,
        "code-patterns",
        "vanished",
    ),
    moving(
        "a collection is dropped and made again",
        lambda scene: (scene.lab.delete("code-patterns"), scene.lab.make("code-patterns", points_of(2))),
        ("backup",),
        0,
    ),
]


@pytest.mark.parametrize(("case", "kind"), parameters(CASES))
def test_moving(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)


# Nodes ----------------------------------------------------------------------------------------------------------------

ROUTES = {
    "collection": f"GET {HERE}",
    "shards": f"GET {HERE}/cluster",
    "creation": FIRST,
    "list": f"GET {HERE}/snapshots",
    "download": f"GET {HERE}/snapshots/{NAME}-*.snapshot",
    "deletion": f"DELETE {HERE}/snapshots/{NAME}-*.snapshot[?]wait=true",
    "list of collections": "GET /collections",
    "aliases": "GET /aliases",
}


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Two servers that know nothing of each other."""
    with ExitStack() as stack:
        made: list[RunningServer] = []
        for name in ("one", "two"):
            made.append(STARTERS[request.param](tmp_path / name))
            stack.callback(made[-1].stop)
        yield made[0], made[1]


@pytest.mark.fault("Q04", quick=False)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pair", ["embedded", pytest.param("real", marks=pytest.mark.real)], indirect=True)
def test_another_node_answers_on_one_route_and_no_backup_holds_a_mixture(
    pair: tuple[RunningServer, RunningServer], tmp_path: Path
) -> None:
    """Behind one address are two nodes with other content under the same names; a balancer asks the second now and then."""
    one, two = pair
    other = lab_at(two, tmp_path / "other")
    other.make(NAME, points_of(7, seed=77))
    for number, (what, route) in enumerate(ROUTES.items()):
        case = Case(
            "Q04",
            f"another node answers on the {what}",
            ("backup", "--json"),
            (0, 1, 2, 5, 7),
            network=(Rule(route, Elsewhere(two.port), times=None),),
            world=one_backup,
        )
        place = tmp_path / str(number)
        watched = play(case, one, place)
        if watched.ran.code == 0:
            # All or nothing of one node: what is recorded is what lies in the archive, whole.
            manifest = json.loads(next(Path(watched.ran.json["path"]).glob("manifest.json")).read_text())
            assert manifest["collections"][NAME]["records"] in (20, 7), what
        one.empty()


def peer(directory: Path, uri_port: int, *more: str) -> RunningServer:
    """A node of a real cluster."""
    words = " ".join(["--uri", f"http://127.0.0.1:{uri_port}", *more])
    settings = {"QDRANT__CLUSTER__ENABLED": "true", "QDRANT__CLUSTER__P2P__PORT": str(uri_port)}
    return start_real(directory, settings=settings, within=("sh", "-c", f'exec "$0" "$@" {words}'))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.real
@pytest.mark.fault("Q04", quick=False)
@pytest.mark.timeout(600)
def test_a_real_cluster_is_refused_whole_and_with_a_node_down(tmp_path: Path) -> None:
    first_port, second_port = free_port(), free_port()
    with ExitStack() as stack:
        first = peer(tmp_path / "first", first_port)
        stack.callback(first.stop)
        second = peer(tmp_path / "second", second_port, "--bootstrap", f"http://127.0.0.1:{first_port}")
        stack.callback(second.stop)
        says = ("cluster of 2 peers",)
        whole = Case("Q04", "a cluster", ("backup",), (7,), says, world=cluster_world, on=REAL, skips=REFUSED_AGAIN)
        play(whole, first, tmp_path / "whole")
        second.kill()
        line = CommandLine.at(tmp_path / "halved", first)
        line.inside("backup").failed(7, *says)
        assert line.published() == []


REFUSED_AGAIN = {"G3": "the next backup of a cluster is refused as well"}


def cluster_world(scene: Scene) -> None:
    config = {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2}
    scene.lab.make("docs", points_of(10), config)
