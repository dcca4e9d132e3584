"""N13: TLS in front of the server: whom the command line trusts, and that it never goes back to plain http.

The calls themselves are tested in `tests/qdrant/test_tls.py`.
"""

from __future__ import annotations

import dataclasses

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, Case, parameters
from faults.harness.plugin import missing
from faults.harness.scene import Scene
from faults.harness.worlds import one_backup, one_changed
from support.authority import Authority
from support.relay import Relay

HERE = "IP:127.0.0.1,DNS:localhost"
RESTORE = ("restore", "{backup}", "--force")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if missing(["openssl"]):
        pytest.skip("needs openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


@dataclasses.dataclass(frozen=True)
class Front:
    """The TLS that stands before the server, and how it is spoken to.

    Attributes:
        names: whom its certificate is for.
        expired: it is from the year 2020.
        plain: it does not speak TLS at all.
        trusted: the command line is told of its authority.
        address: as the user types it.
    """

    names: str = HERE
    expired: bool = False
    plain: bool = False
    trusted: bool = True
    address: str = "https://127.0.0.1"


FRONTS = {
    "expired": Front(expired=True),
    "another name": Front("DNS:elsewhere.example"),
    "another address": Front("IP:10.0.0.1"),
    "an unknown authority": Front(trusted=False),
    "a plain port called https": Front(plain=True),
    "a TLS port called http": Front(address="http://127.0.0.1"),
    "trusted": Front(),
    "trusted by name": Front(address="https://localhost"),
}
SAID = {
    "expired": "has expired",
    "another name": "another",
    "another address": "another address",
    "an unknown authority": "--ca-file",
    "a plain port called https": "does not speak TLS",
    "a TLS port called http": "could not reach Qdrant",
}
CASES = tuple(
    Case("N13", f"{fact} in a {run[0]}", run, (code,) if fact in SAID else (0,), (SAID.get(fact, ""),), world=world,
         on=BOTH if fact.startswith("trusted") else ("embedded",), also=("G1", "G2", "G4", "G5"))
    for fact in FRONTS
    for run, code, world in ((("backup",), 1, one_backup), (RESTORE, 3, one_changed))
)  # fmt: skip


@pytest.mark.parametrize(("case", "kind"), parameters(CASES))
def test_tls(case: Case, kind: str, authority: Authority, play_case: Play) -> None:
    front = FRONTS[case.fact.rpartition(" in a ")[0]]
    relays: list[Relay] = []

    def stand_before(scene: Scene) -> None:
        port = scene.server.port
        if not front.plain:
            relays.append(Relay(port, authority.context(front.names, expired=front.expired)))
            port = relays[0].port
        scene.line.settings["QDRANT_URL"] = f"{front.address}:{port}"
        if front.trusted:
            scene.line.settings["QDRANT_BACKUP_CA_FILE"] = authority.pem

    try:
        play_case(dataclasses.replace(case, damage=stand_before), kind)
        asked = [line for relay in relays for line in relay.seen]
    finally:
        for relay in relays:
            relay.close()
    assert bool(asked) == (case.exits == (0,))
