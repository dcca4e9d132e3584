"""S01, S03, S06: secrets appear nowhere, and what is written is its owner's alone from its first moment."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import Case, parameters
from faults.harness.guarantees import _contains, _records
from faults.harness.plugin import missing
from faults.harness.scene import CANARY, Scene, restore_world
from qdrant_backup.cli.main import COMMANDS
from support.command import PROGRAM, Ran, until
from support.damaged import flip
from support.relay import Answer, Close, Relay, Rule
from support.servers import API_KEY

INTO_KEY = "into-canary-83d1-never-shown"
SERVE_KEY = "serve-canary-19ac-never-shown"
WRONG_KEY = "wrong-canary-77b2-never-shown"
IN_URL = "url-canary-4e0b-never-shown"
SECRETS = (CANARY, API_KEY, INTO_KEY, SERVE_KEY, WRONG_KEY, IN_URL)
QUESTION = "memory"


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


LOOK = ("--collection", "discussions")
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


@pytest.fixture
def scene(shared_servers: Any, tmp_path: Path) -> Iterator[Scene]:
    """A server with content, a backup of it, an installation that has changed since, and secrets wherever they can be."""
    server = shared_servers.get("embedded")
    made = Scene(server, tmp_path / "scene")
    made.line.settings |= {"QDRANT_INTO_API_KEY": INTO_KEY, "QDRANT_BACKUP_SERVE_API_KEY": SERVE_KEY}
    try:
        restore_world(made)
        shutil.rmtree(made.line.directory / ".cache", ignore_errors=True)
        env = made.line.install / "docker" / ".env"
        env.write_text(f"QDRANT_PORT=26350\nQDRANT_API_KEY={API_KEY}\nOTHER_SECRET={CANARY}-changed\n")
        (made.line.install / "logs").mkdir()
        (made.line.install / "logs" / "agent.log").write_text("started\n")
        yield made
    finally:
        made.close()
        server.empty()


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
        ((scene.line.backups / ".catalogue.json").write_text('{"entries":') and {}) or {}
    ),
    "a damaged journal": lambda scene, relay: (
        ((scene.line.backups / ".restore-journal.json").write_text('{"journal":') and {}) or {}
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


# S03 ------------------------------------------------------------------------------------------------------------------

_MADE = re.compile(
    r'(?:openat|open|mkdir|mkdirat|mknod|mknodat|creat)\((?:[^"]*?)"([^"]*)"(.*)\)\s+= \d+(?:<([^>]*)>)?'
)
_MODE = re.compile(r", (0[0-7]*)$")
_UMASK = re.compile(r"umask\((0[0-7]*)\)")
MAKING = "trace=openat,open,creat,mkdir,mkdirat,mknod,mknodat,umask"


def _open_to_others(log: Path, root: Path) -> list[str]:
    """Files and directories below `root` that had rights for others when they were made, by strace's word.

    The mode counts that is asked for, less the umask of the first process, which all others inherit.
    """
    found: list[str] = []
    first, umask = "", 0
    for line in log.read_text("utf-8", "replace").splitlines():
        process = line.partition(" ")[0]
        first = first or process
        if (changed := _UMASK.search(line)) and process == first:
            umask = int(changed[1], 8)
        match = _MADE.search(line)
        if not match or not ("O_CREAT" in line or "O_TMPFILE" in line or "mkdir" in line or "mknod" in line):
            continue
        mode = _MODE.search(match[2])
        where = match[3] or match[1]
        below = where.startswith(str(root)) or not where.startswith("/")
        if below and mode and int(mode[1], 8) & ~umask & 0o077:
            found.append(f"{where} {mode[1]}")
    return found


def _umask_of_nobody() -> None:
    os.umask(0)


WRITING = {
    "backup": (("backup", "--include-logs"),),
    "restore and undo": (("restore", "{}", "--force", "--restore-config"), ("undo", "--yes")),
    "verify": (("verify", "{}", "--content"),),
    "looking": (("search", "{}", QUESTION, *LOOK), ("points", "{}", *LOOK), ("diff", "{}", "live"), ("history", "5", *LOOK)),
    "recover": (("recover", "--from", "{}", "--ids", "5", *LOOK, "--overwrite", "--yes"),),
    "drill": (("drill", "record", QUESTION, *LOOK), ("drill", "{}", *LOOK)),
    "prune": (("prune", "--keep-days", "0", "--yes"),),
    "demo": (("demo", "--keep"),),
}
QUICK_WRITING = {"backup"}


def _below_elsewhere(scene: Scene) -> dict[str, str]:
    """Directories that do not exist yet, with parents that do not exist either."""
    fresh = scene.line.directory / "fresh"
    return {"AI_MEMORY_BACKUP_DIR": str(fresh / "a" / "backups"), "QDRANT_BACKUP_CACHE_DIR": str(fresh / "b" / "cache")}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.fault("S03", quick=what in QUICK_WRITING)) for what in WRITING]
)
def test_whatever_the_umask_nothing_is_ever_open_to_others(scene: Scene, what: str) -> None:
    if lacking := missing(("strace",)):
        pytest.skip(f"needs {', '.join(lacking)}")
    log = scene.line.directory.parent / "made.strace"
    before = set(scene.line.directory.rglob("*"))
    for words in WRITING[what]:
        process = scene.line.start(
            *(word.replace("{}", scene.backup) for word in words),
            env=_below_elsewhere(scene) if what == "backup" else {},
            program=["strace", "-f", "-qq", "-y", "-s", "4096", "-e", MAKING, "-o", str(log), *PROGRAM],
            preexec_fn=_umask_of_nobody,
        )
        ran = scene.line.ended(process)
        assert ran.code in (0, 10), ran
        assert _open_to_others(log, scene.line.directory) == [], words
    made = [path for path in scene.line.directory.rglob("*") if path not in before]
    open_now = [f"{path} {path.lstat().st_mode:o}" for path in made if path.lstat().st_mode & 0o077]
    assert [line for line in open_now if ".bak" not in line] == []


@pytest.mark.fault("S03", quick=False)
def test_the_check_itself_sees_what_is_open_to_others(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '1 openat(AT_FDCWD</x>, "/x/a", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</x/a>\n'
        '1 openat(AT_FDCWD</x>, "/x/b", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3</x/b>\n'
        '1 mkdir("/x/c", 0777) = 0\n'
        '1 mkdirat(4</x>, "d", 0700) = 0\n'
        '1 openat(AT_FDCWD</x>, "/x/e", O_RDONLY) = 3</x/e>\n'
        '1 mkdir("/x/f", 0777) = -1 EEXIST (File exists)\n'
        "2 umask(077) = 022\n"
        '2 mkdir("/x/g", 0777) = 0\n'
        "1 umask(077) = 022\n"
        '2 mkdir("/x/h", 0777) = 0\n'
    )
    assert _open_to_others(log, Path("/x")) == ["/x/b 0666", "/x/c 0777", "/x/g 0777"]


PLANTED = (
    ".lock",
    ".catalogue.json",
    ".restore-journal.json",
    ".intents",
    ".undo",
    ".golden.json",
    ".drills",
    ".scratch",
)


@pytest.mark.fault("S03", quick=False)
@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("kind", ["file", "nothing", "directory"])
def test_no_link_is_followed_by_anything_that_is_written(scene: Scene, tmp_path: Path, name: str, kind: str) -> None:
    victim = tmp_path / "victim"
    if kind == "file":
        victim.write_text("{}")
    elif kind == "directory":
        victim.mkdir()
    place = scene.line.backups / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(victim)
    for words in (
        ("backup",),
        ("restore", scene.backup, "--force"),
        ("undo", "--yes"),
        ("recover", "--from", scene.backup, "--ids", "5", *LOOK, "--overwrite", "--yes"),
        ("drill", "record", QUESTION, *LOOK),
        ("drill", scene.backup, *LOOK),
        ("anomaly", "accept", scene.backup),
        ("prune", "--keep-days", "9999", "--yes"),
    ):
        ran = scene.line.inside(*words)
        assert ran.code != 70, ran
        assert "Traceback" not in ran.err
        if kind == "file":
            assert victim.read_text() == "{}", words
        elif kind == "directory":
            assert list(victim.iterdir()) == [], words
        else:
            assert not victim.exists(), words


# S06 ------------------------------------------------------------------------------------------------------------------


def _env_is_private(scene: Scene) -> None:
    backup = scene.line.published()[-1]
    copies = [path for path in backup.rglob(".env*") if path.is_file()]
    assert copies
    for path in [*copies, *backup.rglob("*"), backup, scene.line.backups]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.fault("S06", quick=False)
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o777, 0o400])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_copy_of_an_env_file_is_its_owners_alone_whatever_the_original_was(
    scene: Scene, mode: int, umask: int
) -> None:
    (scene.line.install / "docker" / ".env").chmod(mode)
    before = os.umask(umask)
    try:
        ran = scene.line.inside("backup", "--collection", "conventions")
    finally:
        os.umask(before)
    ran.ok()
    _env_is_private(scene)


S06 = [
    Case("S06", "a copy of an env file is not shown", ("show", "latest", "--json"), (0,), world=restore_world),
    Case(
        "S06",
        "what would replace it is not shown",
        ("restore", "{backup}", "--dry-run", "--restore-config"),
        (0,),
        (".env: replace",),
        world=restore_world,
        damage=lambda scene: (scene.line.install / "docker" / ".env").write_text(f"OTHER_SECRET={CANARY}x\n") and None,
    ),
]


@pytest.mark.parametrize(("case", "kind"), parameters([dataclasses.replace(case, quick=False) for case in S06]))
def test_secrecy_through_the_command_line(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
