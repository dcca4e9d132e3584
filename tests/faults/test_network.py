"""N: what a network, a proxy and a foreign host do to the bytes of snapshots, and to the way to the server.

What they do to each route in its turn stands in `test_network_routes.py`.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, Case, parameters
from faults.harness.scene import Scene
from faults.harness.worlds import NAME, one_backup, one_changed
from support.relay import Answer, Close, Delay, DropReply, FlipByte, Mute, Rate, Reset, Rule, Stall
from support.restoring import path_of
from support.scripted import Junk

BACKUP = ("backup",)
RESTORE = ("restore", "{backup}", "--force")
DOWNLOAD = f"GET /collections/{NAME}/snapshots/*.snapshot"
CREATE = f"POST /collections/{NAME}/snapshots?wait=true"
UPLOAD = f"POST /collections/{NAME}/snapshots/upload[?]*"
TOO_LARGE = Answer(413, unread=True)
ABRUPT = Answer(413, b"<html>413 Request Entity Too Large</html>", unread=True, abrupt=True)
POSITIONS = {"at once": 0, "after a byte": 1, "in the middle": 0.5, "before its last byte": -1}
BRIEF = {"SNAPSHOT_UPLOAD_TIMEOUT": "4", "QDRANT_BACKUP_SERVER_WAIT": "20"}
NOWHERE = {"QDRANT_HOST": "host.invalid", "QDRANT_API_KEY": None}
ZIPPED = gzip.compress(b"not a snapshot" * 9_000)


def sample(case: int, quick: int) -> bool:
    """Whether the case of this number is one of the first `quick`, which `make test` runs too."""
    return case < quick


UNREACHABLE = (
    Case("N01", "port closed", BACKUP, (1,), ("127.0.0.1", "refused"), settings={"QDRANT_PORT": "9"}, world=one_backup),
    *(
        Case("N01", fact, run, exits, ("host.invalid", "unknown"), settings=NOWHERE, world=world,
             quick=run == RESTORE)
        for fact, run, exits, world in (
            ("unknown host in a backup", BACKUP, (1,), one_backup),
            ("unknown host in a restore", RESTORE, (3,), one_changed),
        )
    ),
    *(
        Case("N01", f"port closed in {words[0]}", words, (code,), ("127.0.0.1", "refused"), world=one_changed, quick=False,
             settings={"QDRANT_PORT": "9"})
        for words, code in ((RESTORE, 3), (("status",), 1), (("check",), 2), (("diff", "{backup}", "live"), 1),
                            (("recover", "--from", "{backup}", "--deleted", "--yes", "--collection", NAME), 1))
    ),
)  # fmt: skip

BROKEN = (
    *(
        Case("N03", f"download {action.__name__.lower()} {where}", BACKUP, (0,), world=one_backup, on=BOTH,
             network=(Rule(DOWNLOAD, action(at)),), quick=sample(number, 2))
        for number, (action, where, at) in enumerate(
            (action, where, at) for where, at in POSITIONS.items() for action in (Reset, Close)
        )
    ),
    Case("N03", "download broken eight times without progress", BACKUP, (0,), world=one_backup, quick=False,
         network=(Rule(DOWNLOAD, Reset(0), times=8),)),
    Case("N03", "download broken once more than is borne", BACKUP, (2,), ("short: got", "9 times in a row"), on=BOTH,
         world=one_backup, network=(Rule(DOWNLOAD, Close(5), times=9),), quick=False),
    Case("N03", "download of a safety copy broken", RESTORE, (0,), world=one_changed, on=BOTH, quick=False,
         network=(Rule(DOWNLOAD, Reset(0.5)), Rule(DOWNLOAD, Close(0.5))), also=("G4", "G5")),
    Case("N03", "download silent in the middle", BACKUP, (0,), world=one_backup, on=BOTH, quick=False, settings=BRIEF,
         network=(Rule(DOWNLOAD, Stall(0.5)),)),
    Case("N04", "a compressed answer where none was asked for", BACKUP, (1, 2), ("compressed",), world=one_backup, quick=False,
         network=(Rule("GET /collections", Answer(200, ZIPPED, (("content-encoding", "gzip"),))),), on=BOTH),
    *(
        Case("N04", f"a body without a length, cut {where}", BACKUP, (2,), ("short: got", "of"), world=one_backup, on=BOTH,
             network=(Rule(DOWNLOAD, Close(at, unsized=True), times=None),), quick=number == 2)
        for number, (where, at) in enumerate(POSITIONS.items())
        if at
    ),
    *(
        Case("N04", f"a compressed snapshot, {what}, whose length fits", BACKUP, (2,), ("compressed (gzip)",), world=one_backup,
             network=(Rule(DOWNLOAD, Answer(200, body, (("content-encoding", "gzip"),))),), quick=number == 1, on=BOTH)
        for number, (what, body) in enumerate((("whole", ZIPPED), ("cut", ZIPPED[:-9])))
    ),
    *(
        Case("N05", f"one byte changed {where}", BACKUP, (0,), world=one_backup, on=BOTH, quick=number == 0,
             network=(Rule(DOWNLOAD, FlipByte(at)),))
        for number, (where, at) in enumerate(POSITIONS.items())
    ),
    *(
        Case("N05", f"one byte changed {where}, twice", BACKUP, (5,), (NAME, "SHA-256"), world=one_backup, on=BOTH,
             network=(Rule(DOWNLOAD, FlipByte(at), times=2),), quick=number == 0)
        for number, (where, at) in enumerate(POSITIONS.items())
    ),
    *(
        Case("N05", f"one byte of an upload changed {where}", RESTORE, (4,), world=one_changed, on=BOTH, quick=False,
             network=(Rule(UPLOAD, FlipByte(at, up=True)),), also=("G4", "G5"))
        for where, at in {"in the middle": 0.5, "near its end": -2_000}.items()
    ),
)  # fmt: skip


SLOW = (
    Case("N06", "a drip of one byte a second down", BACKUP, (2,), ("only", "bytes came in"), world=one_backup, on=BOTH,
         network=(Rule(DOWNLOAD, Rate(1), times=None),), settings={"SNAPSHOT_UPLOAD_TIMEOUT": "2"}),
    Case("N06", "a drip of one byte a second up", RESTORE, (4,), (NAME,), world=one_changed, on=BOTH, settings=BRIEF,
         network=(Rule(UPLOAD, Rate(1, up=True)),), also=("G4",)),
    Case("N06", "slow but alive down", BACKUP, (0,), world=one_backup, on=BOTH, settings=BRIEF,
         network=(Rule(DOWNLOAD, Rate(30_000), times=None),), also=("G1", "G5")),
    Case("N06", "slow but alive up", RESTORE, (0,), world=one_changed, on=BOTH, settings={"SNAPSHOT_UPLOAD_TIMEOUT": "30"},
         network=(Rule(UPLOAD, Rate(500_000, up=True)),), also=("G1", "G4", "G5")),
    *(
        Case("N06", f"every request of a {run[0]} takes its time", run, (0,), world=world, on=BOTH,
             network=(Rule("*", Delay(0.2), times=None),), also=("G1", "G4", "G5"))
        for run, world in ((BACKUP, one_backup), (RESTORE, one_changed))
    ),
)  # fmt: skip


def with_a_users_snapshot(scene: Scene) -> None:
    one_backup(scene)
    scene.lab.call("POST", path_of(NAME, "snapshots"))


LOST = (
    Case("N07", "creation answered to nobody", BACKUP, (0,), world=with_a_users_snapshot, on=BOTH,
         network=(Rule(CREATE, DropReply()),)),
    *(
        Case("N07", f"creation answered with {fact}", BACKUP, (0,), world=with_a_users_snapshot, on=BOTH, quick=False,
             network=(Rule(CREATE, action),), settings=BRIEF)
        for fact, action in {
            "a reset": Reset(0), "silence": Mute(deliver=True), "half an answer": Close(0.5),
            "a proxy's 504": Answer(504, b"<html>timeout</html>", deliver=True),
        }.items()
    ),
    Case("N07", "creations of a safety copy and of the last look answered to nobody", RESTORE, (0,), world=one_changed,
         network=(Rule(CREATE, DropReply(), times=2),), on=BOTH, quick=False, also=("G4",)),
)  # fmt: skip

LIMITED = (
    Case("N09", "413 for the question whether it may restore", RESTORE, (0,), world=one_changed, on=BOTH, quick=False,
         network=(Rule(f"POST /collections/{NAME}/snapshots/upload", TOO_LARGE),)),
    Case("N09", "413 for whatever is sent", RESTORE, (4,), ("body limit",), world=one_changed, on=BOTH,
         network=(Rule(UPLOAD, TOO_LARGE, times=None),)),
    Case("N09", "413 and a reset, for whatever is sent", RESTORE, (4,), (NAME,), world=one_changed, on=BOTH, quick=False,
         network=(Rule(UPLOAD, ABRUPT, times=None),), also=("G5",)),
    *(
        # The last byte ends the line behind the form's last boundary: a server may do without it.
        Case("N09", f"upload {action.__name__.lower()} {where}", RESTORE, (0, 4) if at == -1 else (4,), (NAME,), world=one_changed, on=BOTH,
             quick=False, network=(Rule(UPLOAD, action(at, up=True)),), also=("G5",))
        for where, at in POSITIONS.items() for action in (Reset, Close)
    ),
)  # fmt: skip

ALL = (*UNREACHABLE, *BROKEN, *SLOW, *LOST, *LIMITED)


@pytest.mark.parametrize(("case", "kind"), parameters(ALL))
def test_network(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)


STRANGERS = {
    "gRPC": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x05\x00\x01\x00\x00\x00\x06\x00\x00\x40\x00",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "mail": b"220 mail.example ESMTP\r\n",
    "redis": b"-ERR unknown command\r\n",
    "nothing at all": b"",
    "a line without end": b"HTTP/1.1 200 " + b"x" * 200_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5_000,
    "noise": bytes(range(256)) * 40,
}


def stranger(words: bytes) -> Callable[[Scene], None]:
    """What makes the command line ask a port where somebody says these words to everybody."""

    def plant(scene: Scene) -> None:
        junk = Junk(words)
        scene.witnesses.append(junk)
        scene.line.settings["QDRANT_PORT"] = str(junk.port)

    return plant


PORTS = tuple(
    Case("N12", f"{name} in a {run[0]}", run, (code,), ("6333",) if words else (), ("Traceback",), world=world,
         damage=stranger(words))
    for name, words in STRANGERS.items()
    for run, code, world in ((BACKUP, 1, one_backup), (RESTORE, 3, one_changed), (("status",), 1, one_backup))
)  # fmt: skip


@pytest.mark.parametrize(("case", "kind"), parameters(PORTS))
def test_a_port_that_speaks_something_else(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
