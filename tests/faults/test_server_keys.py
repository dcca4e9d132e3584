"""Q01, S05: keys and tokens that a real server gives some rights and refuses others, and what is said of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.harness.case import REAL, Case
from faults.harness.play import play
from faults.harness.worlds import NAME, lost_points, one_changed
from support.servers import API_KEY, READ_ONLY_API_KEY, RunningServer, start_real
from support.tokens import collection_token, token

pytestmark = [pytest.mark.real, pytest.mark.fault("Q01", quick=False), pytest.mark.fault("S05", quick=False)]

RESTORE = ("restore", "{backup}", "--force")
RECOVER = ("recover", "--from", "{backup}", "--deleted", "--yes", "--collection", NAME)
SNAPSHOT = "snapshot (rw on this collection)"
EXPIRED = 1_577_836_800  # 2020-01-01


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that knows its keys, and tokens signed with them."""
    made = start_real(tmp_path_factory.mktemp("guarded"), settings={"QDRANT__SERVICE__JWT_RBAC": "true"})
    yield made
    made.stop()


KEYS: dict[str, str | None] = {
    "none": None,
    "wrong": "not-the-key",
    "read only": READ_ONLY_API_KEY,
    "manage token": token(API_KEY, "m"),
    "read token": token(API_KEY, "r"),
    "rw token of the collection": collection_token(API_KEY, "rw", NAME),
    "rw token of another": collection_token(API_KEY, "rw", "other"),
    "read token of the collection": collection_token(API_KEY, "r", NAME),
    "points token of the collection": collection_token(API_KEY, "prw", NAME),
    "token by another key": token("another-key", "m"),
    "expired token": token(API_KEY, "m", expires=EXPIRED),
}
UNKNOWN = dict.fromkeys(("none", "wrong"), (9, "401")) | dict.fromkeys(
    ("token by another key", "expired token"), (9, "does not accept this token")
)
WANTED: dict[tuple[str, ...], dict[str, tuple[int, str]]] = {
    ("backup",): UNKNOWN
    | {
        "read only": (9, SNAPSHOT),
        "manage token": (0, "Collections: 2"),
        "read token": (9, SNAPSHOT),
        "rw token of the collection": (0, "the key is for some collections only"),
        "read token of the collection": (9, SNAPSHOT),
        "points token of the collection": (9, SNAPSHOT),
    },
    ("backup", "--collection", NAME): {
        "rw token of the collection": (0, "neither are aliases"),
        "rw token of another": (2, NAME),
    },
    RESTORE: UNKNOWN
    | {
        "read only": (9, SNAPSHOT),
        "manage token": (0, "Restore"),
        "read token": (9, SNAPSHOT),
        "rw token of the collection": (9, "read (Forbidden: Access to collection other is required)"),
    },
    (*RESTORE, "--collection", NAME): {
        "rw token of the collection": (9, "restore (manage)"),
        "points token of the collection": (9, SNAPSHOT),
    },
    RECOVER: UNKNOWN
    | {
        "read only": (9, "write (rw on this collection)"),
        "read token": (9, "write (rw on this collection)"),
        "read token of the collection": (9, "write (rw on this collection)"),
        "points token of the collection": (0, "2"),
        "rw token of the collection": (0, "2"),
        "manage token": (0, "2"),
    },
}


@pytest.mark.parametrize(
    ("run", "key", "code", "says"),
    [
        pytest.param(run, key, code, says, id=f"{' '.join(run)}: {key}")
        for run, keys in WANTED.items()
        for key, (code, says) in keys.items()
    ],
)
def test_what_a_key_may_not_do_is_named_and_nothing_changes(
    guarded: RunningServer, tmp_path: Path, run: tuple[str, ...], key: str, code: int, says: str
) -> None:
    case = Case(
        "Q01",
        f"{run[0]} with {key}",
        run,
        (code,),
        (says,),
        world=one_changed if run[0] == "restore" else lost_points,
        settings={"QDRANT_API_KEY": KEYS[key]},
        on=REAL,
    )
    try:
        play(case, guarded, tmp_path / "scene")
    finally:
        guarded.empty()
