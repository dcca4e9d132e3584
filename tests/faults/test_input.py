"""Q19 and Q20: answers that are built to do harm, and names that nobody foresaw."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, REAL, Case, parameters
from faults.harness.plugin import ROW
from faults.harness.routes import Route, Sweep, play_routes
from faults.harness.scene import Scene
from faults.harness.watched import Watched
from faults.harness.worlds import changed, one_backup
from support.relay import Action, Answer, Flood, Rule
from support.restoring import path_of, plain_config, points_of

GIB, MIB = 2**30, 2**20
MOST_BYTES = 200 * MIB
JSON = (("content-type", "application/json"),)
DEEP = 100_000
BODIES = tuple(
    Answer(200, body, JSON)
    for body in (
        b'{"result":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"unknown":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b',"result":7}',
        b'{"result":{"a":1,"a":2},"result":[{"b":1,"b":2}]}',
        b'{"result":NaN}',
        b'{"result":' + b"9" * 10_000 + b"}",
        b'{"result":{"status":1e99999}}',
        b'{"result":"\xff\xfe"}',
    )
)
TIDYING = "DELETE /collections/*/snapshots/*.snapshot[?]wait=true"
DOWNLOADING = "GET /collections/*/snapshots/*.snapshot"
PROBING = "*qdrant-backup-probe-of-a-snapshot*"
HOSTILE = Case("Q19", "an answer built to do harm", ("backup",), (1,), world=one_backup, also=("G2", "G3"))


def within_memory(watched: Watched) -> None:
    assert watched.peak_bytes is not None
    assert watched.peak_bytes < MOST_BYTES, f"took {watched.peak_bytes / MIB:.0f} MiB"


def one_of_the_bodies(route: Route) -> Action:
    return BODIES[zlib.crc32(route.match.encode()) % len(BODIES)]


@pytest.mark.fault("Q19", quick=False)
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "action",
    [lambda _: Flood(GIB), *(lambda _, body=body: body for body in BODIES[:2]), one_of_the_bodies],
    ids=["a-gibibyte", "deep", "deep-where-nobody-looks", "one-of-all"],
)
def test_no_answer_takes_memory_or_makes_a_crash(
    action: Callable[[Route], Action],
    shared_servers: Any,
    tmp_path: Path,
    fault_seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    exits = {TIDYING: (0,), PROBING: (0, 1), DOWNLOADING: (1, 5)}
    sweep = Sweep(HOSTILE, action, exits, after=within_memory)
    for _ in range(play_routes(sweep, shared_servers.get("embedded"), tmp_path, seed=fault_seed) - 1):
        record_property(ROW, "Q19")


def long_list(begin: bytes, fill: bytes, end: bytes) -> Flood:
    """As much as is read of such an answer, and valid."""
    return Flood(len(begin) + len(fill) * ((7 * MIB) // len(fill)) + len(end), begin, fill, end)


LISTS = (
    Case("Q19", "very many collections", ("status",), (0, 1, 2), world=one_backup,
         network=(Rule("GET /collections", long_list(b'{"result":{"collections":[', b'{"name":"x"},', b'{"name":"y"}]}}')),)),
    Case("Q19", "very many snapshots", ("backup",), (0, 1, 2), world=one_backup,
         network=(Rule("GET /collections/discussions/snapshots",
                       long_list(b'{"result":[', b'{"name":"x","size":1},', b'{"name":"y","size":1}]}')),)),
)  # fmt: skip


@pytest.mark.parametrize(("case", "kind"), parameters(LISTS))
def test_long_lists_take_bounded_memory(case: Case, kind: str, play_case: Play) -> None:
    within_memory(play_case(case, kind))


LONGEST = "n" * 197
ODD = (
    "Ümläut und Leerzeichen", "日本語 🧠", "docs", "Docs", "DOCS", "50%25 off", "a%2Fb", "...", "..%2f..%2fetc",
    "con", "-rf", "--help", "*", "[a-z]?", "'; DROP \"x\" `$(id)` &",
    "a/b", "../../evil", "\u202ertl", LONGEST,
)  # fmt: skip
ESCAPES = ("\x1b", "\x07", "\x00", "\u202e")


def odd_names(scene: Scene) -> None:
    """Every odd name that the server takes; those with letters, at least, it must."""
    scene.lab.make("ordinary", points_of(3))
    taken: set[str] = set()
    for number, name in enumerate(ODD):
        config = {**plain_config(), "wal_config": {"wal_capacity_mb": 1}}
        if scene.server.call("PUT", path_of(name), config)[0] == 200:
            scene.lab.put(name, points_of(2, seed=number))
            taken.add(name)
    assert {"docs", "Docs", "DOCS", "日本語 🧠", "50%25 off", "a%2Fb", LONGEST} <= taken


def odd_names_gone(scene: Scene) -> None:
    odd_names(scene)
    changed(scene)
    for name in set(scene.lab.state()) - {"aliases"}:
        scene.lab.delete(name)


def one_name(name: str) -> Callable[[Scene], None]:
    def world(scene: Scene) -> None:
        one_backup(scene)
        scene.lab.make(name, points_of(2))

    return world


def listed(*names: str) -> Rule:
    """A server that says it has collections of these names, which no Qdrant would."""
    body = {"result": {"collections": [{"name": name} for name in names]}, "status": "ok", "time": 0}
    return Rule("GET /collections", Answer(200, json.dumps(body).encode(), JSON), times=None)


NAMES = (
    Case("Q20", "a backup of odd names", ("backup",), (0,), silent=ESCAPES, world=odd_names, on=BOTH, also=("G5",)),
    Case("Q20", "odd names restored where nothing is", ("restore", "{backup}", "--force"), (0,), silent=ESCAPES,
         world=odd_names_gone, on=BOTH, also=("G4", "G5")),
    *(
        # The server makes a directory of the name, with more behind it: it takes names that it then cannot copy.
        Case("Q20", f"a name of {length} bytes", ("backup",), (2,), ("n" * 20,), world=one_name("n" * length), on=REAL,
             also=("G2", "G3"), skips={"G3": "the next backup fails at the same name"})
        # Behind the name stands the server's own id, a random number of up to 16 digits: one of 198 bytes may still fit.
        for length in (210, 255)
    ),
    # A real server puts the name into a header of its answer, and fails at what no header may hold.
    Case("Q20", "a name with escape codes", ("backup",), (0, 2), ("red",), ESCAPES, world=one_name("esc\x1b[31mred\x07"),
         on=BOTH, also=("G2", "G5")),
    *(
        Case("Q20", f"a server that lists {fact}", ("backup",), (1, 2, 7), silent=ESCAPES, world=one_backup,
             network=(listed("discussions", name),), also=("G2", "G3"))
        for fact, name in {
            "a way up": "../../../evil", "an absolute path": "/etc/evil", "two dots": "..", "nothing": "",
            "escape codes": "\x1b]0;gotcha\x07\x1b[2J", "half a letter": "\ud800", "a long name": "x" * 100_000,
        }.items()
    ),
)  # fmt: skip


@pytest.mark.parametrize(("case", "kind"), parameters(NAMES))
def test_names(case: Case, kind: str, play_case: Play, tmp_path: Path) -> None:
    play_case(case, kind)
    assert not [path for path in tmp_path.rglob("*evil*") if not path.is_relative_to(tmp_path / "scene" / "backups")]
