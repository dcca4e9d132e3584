"""N: what each request of a command meets in its turn, on its way to the server or in the server's place."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import Case
from faults.harness.plugin import ROW
from faults.harness.routes import Sweep, play_routes, routes_of
from faults.harness.scene import Scene
from faults.harness.worlds import one_backup, one_changed
from support.relay import Action, Answer, Mute, Rule
from support.scripted import Scripted
from support.servers import KINDS

JSON = (("content-type", "application/json"),)
PAGE = Answer(200, b"<!DOCTYPE html><html>Sign in</html>", (("content-type", "text/html"),))
OTHER_JSON = Answer(200, b'{"hello":["world"]}', JSON)
BRIEF = {"SNAPSHOT_UPLOAD_TIMEOUT": "4", "QDRANT_BACKUP_SERVER_WAIT": "20"}
SHARES = 3
SAMPLE = 2

CREATING = "POST /collections/*/snapshots[?]wait=true"
DOWNLOADING = "GET /collections/*/snapshots/*.snapshot"
UPLOADING = "POST /collections/*/snapshots/upload[?]*"
PROBING = "*qdrant-backup-probe-of-a-snapshot*"
TIDYING = "DELETE /collections/*/snapshots/*.snapshot[?]wait=true"
"""Asked when the work is done: a failure is told, and does not undo it."""

INDEXING = "PUT /collections/*/index[?]*"
"""What the server shows after an upload proves no index, so that its creation must be answered in the end."""

INSTALLING = (UPLOADING, "PUT *")
CHANGES = (CREATING, TIDYING, "POST /collections/aliases", *INSTALLING)
LIMITED = 429

BEGUN: Mapping[str, Sequence[int]] = {TIDYING: (0,), UPLOADING: (4,), "PUT *": (4,)}
"""A restore that had begun to change something ends with 4; one that had not, with what kept it from it."""

Share = tuple[int, int]
PlaySweep = Callable[[Sweep, str, Share], None]
Exits = Mapping[str, Sequence[int]]


def a_backup(case: Case, **changes: Any) -> Case:
    return dataclasses.replace(case, run=("backup",), exits=(1,), world=one_backup, also=("G3", "G5"), **changes)


def a_restore(case: Case, **changes: Any) -> Case:
    run = ("restore", "{backup}", "--force")
    skips = {"G3": "a journal that is open keeps backups of its collections from being made"}
    return dataclasses.replace(case, run=run, exits=(3,), world=one_changed, also=("G4",), skips=skips, **changes)


@pytest.fixture
def play_all(
    shared_servers: Any, tmp_path: Path, fault_seed: int, full: bool, record_property: Callable[[str, object], None]
) -> PlaySweep:
    """Plays a sweep's share on a server of a kind; outside of `make faults` two routes of it."""

    def start(sweep: Sweep, kind: str, share: Share) -> None:
        server, most = shared_servers.get(kind), None if full else SAMPLE
        played = play_routes(sweep, server, tmp_path, seed=fault_seed, most=most, share=share)
        for _ in range(played - 1):  # The mark itself counts as one.
            record_property(ROW, sweep.case.row)

    return start


def sweeps(*, real: Sequence[str] = (), **named: Sweep) -> pytest.MarkDecorator:
    """Each sweep against the embedded server, and those of the names in `real` against a real one too; in shares."""
    made: list[Any] = []
    for name, sweep in named.items():
        for kind in ("embedded", "real") if name in real else ("embedded",):
            marks = [pytest.mark.real] if kind == "real" else []
            shares = 1 if sweep.only else SHARES
            made += [
                pytest.param(sweep, kind, (share, shares), id=f"{name}-{share}-{kind}", marks=marks)
                for share in range(shares)
            ]
    return pytest.mark.parametrize(("sweep", "kind", "share"), made)


long = pytest.mark.timeout(2400)

MUTE = Case("N02", "accepted and never answered", (), (), settings=BRIEF)
LATE: Exits = {TIDYING: (0,), "*": (3, 4)}


@long
@pytest.mark.fault("N02", quick=False)
@sweeps(
    real=("backup", "done", "restore_late", "restore_done"),
    backup=Sweep(a_backup(MUTE, says=("silent for 4 s",)), lambda _: Mute(), {CREATING: (2,), TIDYING: (0,)}),
    done=Sweep(a_backup(MUTE), lambda _: Mute(deliver=True), {CREATING: (0,), TIDYING: (0,)}, only=CHANGES),
    restore=Sweep(a_restore(MUTE, says=("silent for 4 s",)), lambda _: Mute(), {**BEGUN, CREATING: (8,)}),
    restore_late=Sweep(a_restore(MUTE), lambda _: Mute(), LATE, late=True),
    restore_done=Sweep(
        a_restore(MUTE),
        lambda _: Mute(deliver=True),
        {"POST /collections/aliases": (3,), INDEXING: (4,), "*": (0,)},
        only=CHANGES,
    ),
)
def test_a_server_that_never_answers(sweep: Sweep, kind: str, share: Share, play_all: PlaySweep) -> None:
    play_all(sweep, kind, share)


BUSY = Case("N08", "busy", (), ())


def busy(status: int, *, deliver: bool = False) -> Action:
    """What a proxy or a rate limit says, with the time after which to come again."""
    return Answer(status, b"<html>busy</html>", (("retry-after", "1"), ("content-type", "text/html")), deliver)


@long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.fault("N08", quick=False)
@pytest.mark.parametrize("run", [a_backup, a_restore], ids=["backup", "restore"])
def test_a_server_that_is_busy_for_a_while(
    run: Callable[..., Case], status: int, kind: str, shared_servers: Any, tmp_path: Path, play_case: Play
) -> None:
    """Every request that may be repeated is turned away twice; each other one once, limited or done all the same.

    What installs a collection is left out: a restore does not repeat it, but puts everything back.
    """
    case = dataclasses.replace(run(BUSY), exits=(0,), also=("G1", "G4", "G5"))
    rules: list[Rule] = []
    for route in routes_of(case, shared_servers.get(kind), tmp_path / "undisturbed"):
        if any(fnmatch.fnmatchcase(route.match, glob) for glob in INSTALLING):
            continue
        lost = status != LIMITED and any(fnmatch.fnmatchcase(route.match, glob) for glob in CHANGES)
        rules.append(Rule(route.match, busy(status, deliver=lost), times=1 if lost else 2))
    play_case(dataclasses.replace(case, network=rules), kind)


@long
@pytest.mark.fault("N08", quick=False)
@sweeps(
    real=("backup",),
    backup=Sweep(a_backup(BUSY, says=("503",)), lambda _: busy(503), {CREATING: (2,), TIDYING: (0,)}),
    limited=Sweep(a_backup(BUSY, says=("429",)), lambda _: busy(429), {TIDYING: (0,), "*": (1, 2)}),
    restore=Sweep(a_restore(BUSY, says=("502",)), lambda _: busy(502), {**BEGUN, CREATING: (8,)}),
    installing=Sweep(a_restore(BUSY), lambda _: busy(429), {"*": (0, 4)}, times=1, only=INSTALLING),
    installed=Sweep(a_restore(BUSY), lambda _: busy(504, deliver=True), {"*": (0, 4)}, times=1, only=INSTALLING),
)
def test_a_server_that_stays_busy(sweep: Sweep, kind: str, share: Share, play_all: PlaySweep) -> None:
    play_all(sweep, kind, share)


STRANGER = Case("N10", "another answers", (), ())


@long
@pytest.mark.fault("N10", quick=False)
@sweeps(
    real=("backup", "restore_late"),
    backup=Sweep(a_backup(STRANGER, says=("web page",)), lambda _: PAGE, {TIDYING: (0,)}),
    json=Sweep(a_backup(STRANGER), lambda _: OTHER_JSON, {TIDYING: (0,), PROBING: (0,), DOWNLOADING: (5,)}),
    restore=Sweep(a_restore(STRANGER), lambda _: PAGE, BEGUN),
    restore_late=Sweep(a_restore(STRANGER), lambda _: PAGE, LATE, late=True),
)
def test_an_answer_that_is_not_qdrants(sweep: Sweep, kind: str, share: Share, play_all: PlaySweep) -> None:
    play_all(sweep, kind, share)


AWAY = Case("N11", "redirected to another host", (), (), says=("redirects to",))


class Watching:
    """A witness that outlives the scenes that it is handed to."""

    def __init__(self, witness: Scripted) -> None:
        self.requests = witness.requests

    def close(self) -> None:
        pass


def redirected(case: Case, other: Scripted) -> Sweep:
    def watched(scene: Scene) -> None:
        scene.witnesses.append(Watching(other))

    action = Answer(302, b"", (("location", f"{other.url}/elsewhere"),))
    return Sweep(dataclasses.replace(case, damage=watched), lambda _: action, BEGUN)


REDIRECTED = [
    pytest.param(
        run,
        kind,
        (share, SHARES),
        id=f"{name}-{share}-{kind}",
        marks=[
            pytest.mark.fault("N11", quick=share == 0 and kind == "embedded"),
            *([pytest.mark.real] if kind == "real" else []),
        ],
    )
    for name, run, kind in (
        ("backup", a_backup, "embedded"),
        ("backup", a_backup, "real"),
        ("restore", a_restore, "embedded"),
    )
    for share in range(SHARES)
]


@long
@pytest.mark.parametrize(("run", "kind", "share"), REDIRECTED)
def test_a_redirect_is_not_followed(run: Callable[..., Case], kind: str, share: Share, play_all: PlaySweep) -> None:
    other = Scripted()
    try:
        play_all(redirected(run(AWAY), other), kind, share)
        assert other.requests == []
    finally:
        other.close()
