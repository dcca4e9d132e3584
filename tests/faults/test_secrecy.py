"""S01: secrets appear nowhere: in no output, file, command line or environment of a started program."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from faults.harness.guarantees import _contains, _records
from faults.harness.plugin import missing
from faults.harness.scene import CANARY, Scene
from faults.harness.secrets import IN_URL, LOOK, QUESTION, SECRETS, WRONG_KEY, scene
from qdrant_backup.cli.main import COMMANDS
from support.command import PROGRAM, Ran, until
from support.damaged import flip
from support.relay import Answer, Close, Relay, Rule
from support.servers import API_KEY

__all__ = ["scene"]


@dataclasses.dataclass(frozen=True)
class Use:
    """A call of a command.

    Attributes:
        words: its arguments.
        codes: how it ends when nothing goes wrong.
        serves: it runs until it is told to end.
    """

    words: tuple[str, ...]
    codes: tuple[int, ...] = (0,)
    serves: bool = False


def use(*words: str, codes: tuple[int, ...] = (0,), serves: bool = False) -> Use:
    return Use(words, codes, serves)


USES: dict[str, tuple[Use, ...]] = {
    "backup": (use("--include-logs"), use("--json")),
    "list": (use(), use("--json"), use("--safety", "--json")),
    "show": (use(), use("--json")),
    "verify": (use("--all", "--content"), use("--json")),
    "drill": (
        use("drill", "record", QUESTION, *LOOK),
        use("latest", *LOOK),
        use("latest", "--server", "{url}", *LOOK, "--json"),
        use("drill", "list", "--json"),
    ),
    "search": (use("latest", QUESTION, *LOOK), use("latest", QUESTION, "--json")),
    "points": (use("latest", *LOOK), use("latest", *LOOK, "--ids", "5", "--json")),
    "facet": (use("latest", "group", *LOOK), use("latest", "group", *LOOK, "--json")),
    "serve": (use("latest", "--port", "0", serves=True),),
    "diff": (use("latest", "live", codes=(0, 10)), use("latest", "live", "--json", codes=(0, 10))),
    "history": (use("5", *LOOK), use("5", "--json"), use("--query", QUESTION, *LOOK)),
    "recover": (use("--ids", "5", *LOOK, "--dry-run"), use("--ids", "5", *LOOK, "--overwrite", "--yes", "--json")),
    "status": (use(), use("--json")),
    "check": (use(codes=(0, 2)), use("--json", codes=(0, 2))),
    "prune": (use("--keep-days", "0"), use("--keep-days", "9999", "--yes", "--json")),
    "anomaly": (use("anomaly", "list", "--json"), use("anomaly", "accept", "latest", codes=(0, 2))),
    "config": (use("config", "show"), use("config", "show", "--json")),
    "restore": (
        use("latest", "--dry-run", "--restore-config"),
        use("latest", "--dry-run", "--restore-config", "--json"),
        use("latest", "--force", "--restore-config", "--json"),
    ),
    "undo": (use("--yes", "--json"),),
    "resume": (use("--yes", codes=(2,)), use("--yes", "--json", codes=(2,))),
    "dev-server": (use("--data", "served", "--port", "0", serves=True),),
    "demo": (use(),),
    "completion": (use("bash"),),
    "version": (use(), use("--json")),
}
"""In the order of a day; a command that is not here fails the test below until somebody says how it is used."""

APART = {"serve", "dev-server", "demo"}
"""Those that need a process of their own."""


def called(command: str, made: Use, scene: Scene) -> list[str]:
    words = [word.replace("{url}", scene.server.url) for word in made.words]
    return words if words[:1] == [command] and command in {"drill", "anomaly", "config"} else [command, *words]


def require_silent(ran: Ran, what: object) -> None:
    for secret in SECRETS:
        assert secret not in ran.out + ran.err, (what, secret, ran)


def require_unwritten(scene: Scene) -> None:
    found = [(path.name, secret) for path in _records(scene) for secret in SECRETS if _contains(path, secret)]
    assert found == []


# S01 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("S01")
def test_every_command_has_a_case_here() -> None:
    assert sorted(USES) == sorted(COMMANDS), "say in USES how the new command is used"


@pytest.mark.fault("S01")
def test_no_command_shows_or_writes_a_secret(scene: Scene) -> None:
    for command, uses in USES.items():
        for made in uses:
            if command not in APART:
                ran = scene.line.inside(*called(command, made, scene))
                assert ran.code in made.codes, (command, made, ran)
                require_silent(ran, (command, made))
    require_unwritten(scene)


def _executed(log: Path) -> list[str]:
    """Every program that was started but ours itself, with its arguments and its environment."""
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if "execve(" in line]
    return lines[1:]


STRACED = ["strace", "-f", "-qq", "-v", "-s", "1000000", "-e", "trace=execve,execveat", "-o"]


@pytest.mark.fault("S01", quick=False)
@pytest.mark.parametrize("command", USES)
def test_no_program_that_a_command_starts_is_told_a_secret(scene: Scene, command: str) -> None:
    if lacking := missing(("strace",)):
        pytest.skip(f"needs {', '.join(lacking)}")
    log = scene.line.directory / "executed.strace"
    if command == "undo":
        scene.line.inside("restore", scene.backup, "--force").ok()
    for made in USES[command]:
        process = scene.line.start(*called(command, made, scene), program=[*STRACED, str(log), *PROGRAM])
        if made.serves:
            line = process.stdout.readline() or process.stderr.readline()
            os.kill(_child_of(process.pid), 15)
            require_silent(Ran(0, line, ""), made)
        ran = scene.line.ended(process)
        assert made.serves or ran.code in (*made.codes, 8), (made, ran)
        require_silent(ran, made)
        for started in _executed(log):
            assert not [secret for secret in SECRETS if secret in started], (command, started[:200])


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.fault("S01", quick=False)
def test_the_embedding_command_is_told_no_secret(scene: Scene) -> None:
    told = scene.line.directory / "told"
    script = scene.line.directory / "embed.sh"
    script.write_text(f"#!/bin/sh\ncat > /dev/null\nenv > {told}\necho '[0.1, 0.2, 0.3, 0.4]'\n")
    script.chmod(0o700)
    for words in (
        ("search", "latest", QUESTION, *LOOK, "--embed-command", str(script)),
        ("history", "--query", QUESTION, *LOOK, "--embed-command", str(script)),
        ("drill", "record", QUESTION, *LOOK, "--embed-command", str(script)),
    ):
        told.unlink(missing_ok=True)
        require_silent(scene.line.inside(*words).ok(), words)
        text = told.read_text()
        assert "PATH=" in text, "the command's own settings must reach it"
        assert [secret for secret in SECRETS if secret in text] == [], words


@pytest.mark.fault("S01", quick=False)
def test_no_line_of_running_commands_has_a_key_that_stands_in_a_file(scene: Scene, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(API_KEY)
    relay = scene.through_relay()
    rule = Rule("GET /collections/*/snapshots/*.snapshot", Close(10), times=1)
    relay.rules.append(rule)
    process = scene.line.start("backup", env={"QDRANT_API_KEY": None, "QDRANT_API_KEY_FILE": str(key)})
    until(lambda: rule.fired > 0, process)
    seen = b""
    for path in [*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")]:
        try:
            seen += path.read_bytes() if str(scene.line.directory).encode() in path.read_bytes() else b""
        except OSError:
            continue
    require_silent(scene.line.ended(process), "backup")
    assert API_KEY.encode() not in seen


JSON = (("content-type", "application/json"),)
ECHO = f'{{"status":{{"error":"bad key {API_KEY}"}},"time":0}}'.encode()


def _answer(status: int) -> Callable[[Scene, Relay], dict[str, str]]:
    def arrange(scene: Scene, relay: Relay) -> dict[str, str]:
        relay.rules[:] = [Rule("*", Answer(status, ECHO, JSON), times=10**6)]
        return {}

    return arrange


def _cut(scene: Scene, relay: Relay) -> dict[str, str]:
    relay.rules[:] = [Rule("*", Close(20), times=10**6)]
    return {}


def _redirected(scene: Scene, relay: Relay) -> dict[str, str]:
    to = (("location", f"http://127.0.0.1:9/?api-key={API_KEY}"),)
    relay.rules[:] = [Rule("*", Answer(302, b"", to), times=10**6)]
    return {}


def _damaged(relative: str) -> Callable[[Scene, Relay], dict[str, str]]:
    def arrange(scene: Scene, relay: Relay) -> dict[str, str]:
        for backup in scene.line.published():
            flip(backup / relative, 4001)
        return {}

    return arrange


def _settings_file(text: str) -> Callable[[Scene, Relay], dict[str, str]]:
    def arrange(scene: Scene, relay: Relay) -> dict[str, str]:
        (scene.line.directory / "qdrant-backup.toml").write_text(text)
        return {}

    return arrange


FAILURES: dict[str, Callable[[Scene, Relay], dict[str, str]]] = {
    "the server repeats the key in a 401": _answer(401),
    "the server repeats the key in a 403": _answer(403),
    "the server repeats the key in a 500": _answer(500),
    "the server repeats the key in a 200": _answer(200),
    "answers are cut": _cut,
    "answers lead elsewhere": _redirected,
    "a wrong key": lambda scene, relay: {"QDRANT_API_KEY": WRONG_KEY},
    "a key of two lines": lambda scene, relay: {"QDRANT_API_KEY": f"{WRONG_KEY}\n{CANARY}"},
    "a key with an umlaut": lambda scene, relay: {"QDRANT_API_KEY": f"{WRONG_KEY}ü"},
    "nobody at the port": lambda scene, relay: {"QDRANT_PORT": "9"},
    "no such host": lambda scene, relay: {"QDRANT_HOST": "host.invalid", "QDRANT_BACKUP_ALLOW_HTTP": "1"},
    "a key over plain http": lambda scene, relay: {"QDRANT_HOST": "203.0.113.1"},
    "a password in the address": lambda scene, relay: {"QDRANT_URL": f"http://user:{IN_URL}@127.0.0.1:9"},
    "a key in the address": lambda scene, relay: {"QDRANT_URL": f"http://127.0.0.1:9/?api-key={IN_URL}"},
    "a key file with a strange name": lambda scene, relay: {"QDRANT_API_KEY_FILE": "not-there"},
    "a damaged snapshot": _damaged("qdrant/discussions.snapshot"),
    "a damaged digest": _damaged("digest/discussions.digest"),
    "a secret in the settings file": _settings_file(f'api_key = "{CANARY}"\n'),
    "a settings file that is none": _settings_file(f"api_key = {CANARY}\n"),
    "a setting of no meaning": _settings_file("port = []\n"),
    "a damaged catalogue": lambda scene, relay: (
        ((scene.line.backups / ".catalogue.json").write_text('{"document":') and {}) or {}
    ),
    "a damaged journal": lambda scene, relay: (
        ((scene.line.backups / ".restore-journal.json").write_text('{"document":') and {}) or {}
    ),
}


ASKING = ("backup", "status", "check", "restore")


def fail_commands(scene: Scene, failure: str, commands: Iterable[str]) -> None:
    changed = FAILURES[failure](scene, scene.through_relay())
    failed = 0
    for command in commands:
        for made in USES[command]:
            if command not in APART:
                ran = scene.line.inside(*called(command, made, scene), env=changed)
                assert ran.code != 70, (failure, made, ran)
                failed += ran.code not in made.codes
                require_silent(ran, (failure, command, made))
    assert failed, "this failure failed nothing"
    require_unwritten(scene)


@pytest.mark.fault("S01")
def test_no_message_of_a_server_brings_a_secret_out(scene: Scene) -> None:
    fail_commands(scene, "the server repeats the key in a 500", ASKING)


@pytest.mark.fault("S01", quick=False)
@pytest.mark.parametrize("failure", FAILURES)
def test_no_failure_of_any_command_brings_a_secret_out(scene: Scene, failure: str) -> None:
    fail_commands(scene, failure, USES)
