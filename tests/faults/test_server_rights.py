"""Q01: a right that is missing, on one route at a time; and real keys that may do only some of it."""

from __future__ import annotations

import pytest

from faults.conftest import Play
from faults.harness.case import Case, parameters
from faults.harness.worlds import one_backup, one_changed
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


CASES = [
    case
    for status in (401, 403)
    for case in (
        *denials({**SAID_EVERYWHERE, **ONLY_BACKUP}, ("backup",), status),
        *denials(ONLY_STREAM, ("backup",), status, "--method", "stream"),
        *denials({**SAID_EVERYWHERE, **ONLY_RESTORE}, RESTORE, status),
    )
]


@pytest.mark.parametrize(("case", "kind"), parameters(CASES))
def test_rights(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
