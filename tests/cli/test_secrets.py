"""A key appears nowhere: in no output, error, JSON, manifest, note, catalogue or list of running commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import CommandLine, tree_of, until
from support.relay import Answer, Relay, Rule, Stall
from support.restoring import Lab, points_of
from support.servers import API_KEY, RunningServer

Relaying = Callable[[RunningServer], Relay]
"""The server's real key is the canary: it works, so it is used everywhere."""
WRONG = "wrong-canary-27182818"


def _installation(line: CommandLine) -> None:
    (line.install / "docker").mkdir(parents=True)
    (line.install / "docker" / ".env").write_text(f"QDRANT_API_KEY={API_KEY}\nOTHER=thing\n")
    (line.install / "settings.json").write_text("{}")


def _written(line: CommandLine) -> bytes:
    """Every byte that was written below the backup directory, but the config files, which are the user's own."""
    return b"".join(data for name, (_, data) in tree_of(line.backups).items() if "/config/" not in name)


def test_in_nothing_that_is_printed_or_written_when_all_goes_well(embedded_line: CommandLine, embedded: Lab) -> None:
    embedded.make("docs", points_of(5))
    _installation(embedded_line)
    day = [
        ["backup"],
        ["backup", "--json"],
        ["list"],
        ["list", "--json"],
        ["show"],
        ["show", "--json"],
        ["verify", "--content"],
        ["status"],
        ["status", "--json"],
        ["check"],
        ["check", "--json"],
        ["config", "show"],
        ["config", "show", "--json"],
        ["prune", "--keep-days", "0"],
        ["restore", "latest", "--dry-run", "--restore-config"],
        ["restore", "latest", "--dry-run", "--restore-config", "--json"],
        ["restore", "latest", "--force", "--restore-config", "--json"],
        ["undo", "--yes", "--json"],
    ]
    for words in day:
        if words[:2] == ["restore", "latest"]:
            (embedded_line.install / "docker" / ".env").write_text(f"QDRANT_API_KEY={API_KEY}\nOTHER=changed\n")
        ran = embedded_line.inside(*words).ok()
        assert API_KEY not in ran.out + ran.err, words
    assert API_KEY.encode() not in _written(embedded_line)


def test_in_no_message_when_things_fail(embedded_line: CommandLine, embedded: Lab, relay_to: Relaying) -> None:
    embedded.make("docs", points_of(5))
    relay = relay_to(embedded.running)
    echo = f'{{"status":{{"error":"bad api-key {API_KEY} and {WRONG}"}},"time":0}}'.encode()
    embedded_line.settings["QDRANT_PORT"] = str(relay.port)
    for status in (401, 403, 500):
        for command in (["backup"], ["status"], ["check"], ["backup", "--json"], ["status", "--json"]):
            for key in (API_KEY, WRONG):
                relay.rules[:] = [Rule("*", Answer(status, echo, (("content-type", "application/json"),)), times=99)]
                ran = embedded_line.inside(*command, env={"QDRANT_API_KEY": key})
                assert ran.code != 0
                assert key not in ran.out + ran.err, (command, status)
    relay.rules.clear()
    for env in (
        {"QDRANT_API_KEY": f"{API_KEY}\nsecond line"},
        {"QDRANT_URL": f"http://user:{WRONG}@127.0.0.1:1"},
        {"QDRANT_PORT": "1"},
        {"QDRANT_HOST": "host.invalid"},
        {"QDRANT_API_KEY": f"{WRONG}ü"},
    ):
        ran = embedded_line.inside("backup", env=env)
        assert ran.code not in {0, 70}, ran
        assert API_KEY not in ran.out + ran.err
        assert WRONG not in ran.out + ran.err, env
    if embedded_line.backups.exists():
        assert API_KEY.encode() not in _written(embedded_line)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc")
def test_in_no_list_of_running_commands_and_no_bug_report(
    embedded_line: CommandLine, embedded: Lab, relay_to: Relaying
) -> None:
    embedded.make("docs", points_of(5))
    relay = relay_to(embedded.running)
    rule = Rule("GET /collections/*/snapshots/*.snapshot", Stall(after=1_000))
    relay.rules.append(rule)
    process = embedded_line.start("backup", env={"QDRANT_PORT": str(relay.port)})
    until(lambda: rule.fired > 0, process)
    commands = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands += path.read_bytes()
        except OSError:
            continue
    process.terminate()
    ran = embedded_line.ended(process)
    assert ran.code == 143, ran
    assert b"qdrant_backup" in commands
    assert API_KEY.encode() not in commands
    assert API_KEY not in ran.out + ran.err
