"""Ctrl-C, SIGTERM and SIGKILL at any moment of a backup."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import CommandLine, Ran, until
from support.relay import Relay, Rule, Stall
from support.restoring import Lab
from support.servers import RunningServer
from support.worlds import small_world

Relaying = Callable[[RunningServer], Relay]
MOMENTS = 4


def interrupted(line: CommandLine, number: int, happened: Callable[[], bool]) -> Ran:
    process = line.start("backup")
    until(happened, process)
    process.send_signal(number)
    return line.ended(process)


@pytest.mark.fault("P04")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_run_that_is_stopped_in_a_download_leaves_nothing(
    embedded: Lab, tmp_path: Path, relay_to: Relaying, number: int, code: int
) -> None:
    small_world(embedded)
    relay = relay_to(embedded.running)
    line = CommandLine.at(tmp_path, embedded.running, QDRANT_PORT=str(relay.port))
    rule = Rule("GET /collections/*/snapshots/*.snapshot", Stall(after=5_000))
    relay.rules.append(rule)
    ran = interrupted(line, number, lambda: rule.fired > 0)
    assert ran.code == code, ran
    assert "Interrupted" in ran.err
    assert "Traceback" not in ran.err
    assert line.published() == []
    assert line.wrecks() == []
    assert embedded.left_on_server() == []


@pytest.mark.fault("P04")
def test_a_run_that_is_stopped_while_the_server_makes_the_snapshot_removes_it(
    embedded: Lab, tmp_path: Path, relay_to: Relaying
) -> None:
    small_world(embedded)
    embedded.running.script({"match": "POST /collections/*/snapshots", "action": "delay", "delay_s": 2.0})
    relay = relay_to(embedded.running)
    line = CommandLine.at(tmp_path, embedded.running, QDRANT_PORT=str(relay.port))
    ran = interrupted(line, signal.SIGTERM, lambda: any(seen.startswith("POST ") for seen in relay.seen))
    assert ran.code == 143, ran
    assert line.wrecks() == []
    assert embedded.left_on_server() == []


@pytest.mark.fault("P01")
@pytest.mark.parametrize("seed", [1, 2])
def test_whenever_runs_are_killed_the_next_one_is_whole_and_nothing_is_left(
    server: RunningServer, lab: Lab, tmp_path: Path, relay_to: Relaying, seed: int
) -> None:
    dice = random.Random(seed)
    small_world(lab, points=10)
    users = lab.call("POST", "/collections/discussions/snapshots")["name"]
    relay = relay_to(server)
    line = CommandLine.at(tmp_path, server, QDRANT_PORT=str(relay.port))
    whole = 0
    for _ in range(MOMENTS):
        moment = len(relay.seen) + dice.randrange(12, 45)
        ran = interrupted(line, signal.SIGKILL, lambda moment=moment: len(relay.seen) >= moment)
        assert ran.code in {0, -signal.SIGKILL}, ran
        listing = lab.ports.directory.survey()
        assert listing.invalid == ()
        assert len(listing.backups) - whole <= 1
        assert all(backup.is_whole for backup in listing.backups)
        whole = len(listing.backups)
    line.run("backup").ok()
    assert line.wrecks() == []
    assert lab.left_on_server() == [users]
    line.run("verify", "--all", "--content").ok()
