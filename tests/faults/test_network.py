"""N: what a network, a proxy and a foreign host do."""

from __future__ import annotations

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, Case, parameters
from support.relay import Answer, Close, DropReply, FlipByte, Reset, Rule

DOWNLOAD = "GET /collections/*/snapshots/*.snapshot"
UPLOAD = "POST /collections/*/snapshots/upload*"
TOO_LARGE = Answer(413, unread=True)
CREATE = "POST /collections/discussions/snapshots*"

CASES = (
    Case("N01", "port closed", ("backup",), (1,), ("127.0.0.1",), settings={"QDRANT_PORT": "9"}),
    Case("N03", "download reset at byte 0", ("backup",), (0,), network=(Rule(DOWNLOAD, Reset(0)),), on=BOTH),
    Case("N03", "download closed at byte 1000", ("backup",), (0,), network=(Rule(DOWNLOAD, Close(1000)),), on=BOTH),
    Case("N05", "one byte of a download is another", ("backup",), (0,), network=(Rule(DOWNLOAD, FlipByte(5000)),)),
    Case("N07", "creation answered to nobody", ("backup",), (0,), network=(Rule(CREATE, DropReply()),), on=BOTH),
    Case(
        "N09",
        "413 for whole snapshots but not for shards",
        ("restore", "{backup}", "--force"),
        (0,),
        network=(Rule("POST /collections/discussions/snapshots/upload*", TOO_LARGE),),
        on=BOTH,
    ),
    Case(
        "N09",
        "413 for whatever is sent",
        ("restore", "{backup}", "--force"),
        (4,),
        ("body limit",),
        network=(Rule("POST /collections/discussions/*snapshots/upload*", TOO_LARGE, times=2),),
        on=BOTH,
    ),
)


@pytest.mark.parametrize(("case", "kind"), parameters(CASES))
def test_network(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
