"""Q01: a right that is missing, on one route at a time; and real keys that may do only some of it."""

from __future__ import annotations

import dataclasses

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, Case, parameters
from faults.harness.worlds import lost_points, one_backup, one_changed, restored
from support.relay import Answer, Rule

HERE = "/collections/discussions"
SHARD = f"{HERE}/shards/0/snapshot"
PROBE = "qdrant-backup-probe*"
OWN = "discussions-*.snapshot"

SAID_EVERYWHERE = {
    "identity": ("GET /", "read"),
    "list of collections": ("GET /collections", "read"),
    "collection": (f"GET {HERE}", "read"),
    "shards": (f"GET {HERE}/cluster", "read"),
    "probe of snapshots": (f"DELETE {HERE}/snapshots/{PROBE}", "snapshot (rw on this collection)"),
    "aliases": ("GET /aliases", "read"),
    "list of snapshots": (f"GET {HERE}/snapshots", "read"),
}
ONLY_BACKUP = {
    "creation": (f"POST {HERE}/snapshots[?]wait=true", "snapshot (rw on this collection)"),
    "download": (f"GET {HERE}/snapshots/{OWN}", "read"),
}
ONLY_STREAM = {
    "streamed shard": (f"GET {SHARD}", "snapshot (rw on this collection)"),
}
ONLY_RESTORE = {
    "probe of uploads": (f"POST {HERE}/snapshots/upload", "restore (manage)"),
    "probe of aliases": ("POST /collections/aliases", "aliases (manage)"),
    "sizes": ("GET /telemetry[?]details_level=4", "read"),
    "versions of segments": (f"GET {SHARD}/partial/manifest", "read"),
}
QUICK = {("backup", "probe of snapshots"), ("restore", "probe of uploads")}
RESTORE = ("restore", "{backup}", "--force")
RECOVER = ("recover", "--from", "{backup}", "--deleted", "--yes")


def denials(routes: dict[str, tuple[str, str]], run: tuple[str, ...], status: int, *options: str) -> list[Case]:
    """Every request of a route is answered so, from the first to the last."""
    shown = " ".join((run[0], *options))
    return [
        Case(
            "Q01",
            f"{shown}: {status} on the {name}",
            (*run, *options),
            (9,),
            (right,) if status == 403 else ("401",),
            network=(Rule(route, Answer(status, b"Forbidden"), times=None),),
            world=one_backup if run[0] == "backup" else one_changed,
            quick=status == 403 and (shown, name) in QUICK,
        )
        for name, (route, right) in routes.items()
    ]


def optional(routes: dict[str, str], run: tuple[str, ...]) -> list[Case]:
    """What is only asked where it is permitted."""
    return [
        Case(
            "Q01",
            f"{run[0]}: 403 on the {name}, which it can do without",
            run,
            (0,),
            network=(Rule(route, Answer(403, b"Forbidden"), times=None),),
            world=one_backup if run[0] == "backup" else one_changed,
        )
        for name, route in routes.items()
    ]


def withdrawn(fact: str, run: tuple[str, ...], codes: tuple[int, ...], rule: Rule, *says: str) -> Case:
    """The probes were allowed, and then the right is taken away."""
    world = {"restore": one_changed, "recover": lost_points, "undo": restored}.get(run[0], one_backup)
    return Case("Q01", f"{run[0]}: {fact}", run, codes, says, network=(rule,), world=world, on=BOTH)


NO = Answer(403, b"Forbidden")
WITHDRAWN = [
    withdrawn(
        "403 on the upload itself",
        RESTORE,
        (4,),
        Rule(f"POST {HERE}/snapshots/upload[?]wait=true*", NO, times=None),
        "restore (manage)",
        "Everything is as it was before",
    ),
    withdrawn(
        "403 on the index that is to be made",
        RESTORE,
        (4,),
        Rule(f"PUT {HERE}/index[?]*", NO),
        "Everything is as it was before",
    ),
    withdrawn(
        "403 on the alias that is to be moved",
        RESTORE,
        (4,),
        Rule("POST /collections/aliases", NO, after=1),
        "aliases (manage)",
        "Everything is as it was before",
    ),
    withdrawn(
        "403 on the file that is to be removed",
        RESTORE,
        (0,),
        Rule(f"DELETE {HERE}/snapshots/qdrant-backup-?*.snapshot[?]wait=true", NO, times=None),
        "stays on the server for now",
    ),
    withdrawn(
        "403 on the points to be written",
        RECOVER,
        (9,),
        Rule(f"PUT {HERE}/points[?]*", NO, times=None),
        "write (rw on this collection)",
    ),
    withdrawn("403 on reading points", RECOVER, (9,), Rule(f"POST {HERE}/points*", NO, times=None), "read"),
    withdrawn(
        "403 on the upload",
        ("undo", "--yes"),
        (4,),
        Rule(f"POST {HERE}/snapshots/upload[?]wait=true*", NO, times=None),
        "restore (manage)",
    ),
    withdrawn("403 on the collections", ("undo", "--yes"), (9,), Rule("GET /collections", NO, times=None), "read"),
]
IDENTITY = {"telemetry": "GET /telemetry[?]details_level=0", "peers": "GET /cluster"}
CASES = [
    case
    for status in (401, 403)
    for case in (
        *denials({**SAID_EVERYWHERE, **ONLY_BACKUP}, ("backup",), status),
        *denials(ONLY_STREAM, ("backup",), status, "--method", "stream"),
        *denials({**SAID_EVERYWHERE, **ONLY_RESTORE}, RESTORE, status),
    )
]
LONG = (*optional(IDENTITY, ("backup",)), *optional(IDENTITY, RESTORE), *WITHDRAWN)
CASES += [dataclasses.replace(case, quick=False) for case in LONG]


@pytest.mark.parametrize(("case", "kind"), parameters(CASES))
def test_rights(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
