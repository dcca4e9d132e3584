"""Where a case plays: a server with content, a command line, and what stood there before anything went wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faults.harness.case import Case
from faults.harness.watched import Watched, watch
from qdrant_backup.clock import SystemClock
from support.command import PROGRAM, CommandLine
from support.relay import Relay
from support.restoring import Lab, path_of, points_of
from support.servers import API_KEY, READ_ONLY_API_KEY, RunningServer
from support.stored import published
from support.worlds import lab_at, small_world

__all__ = ["CANARY", "DEADLINE_S", "Before", "Scene", "backup_world", "restore_world"]

CANARY = "canary-5f0e7c-never-shown"
SECRETS = (CANARY, API_KEY, READ_ONLY_API_KEY)
DEADLINE_S = 240.0


@dataclasses.dataclass(frozen=True)
class Before:
    """What stood there before the command ran.

    Attributes:
        listed: the ids that `list` showed.
        files: every file of every published backup, by its path, with its mode and the hash of its bytes.
        state: everything on the server that a command may touch.
        snapshots: the server's snapshot files.
    """

    listed: tuple[str, ...]
    files: Mapping[str, tuple[int, str]]
    state: Mapping[str, Any]
    snapshots: frozenset[str]


def _hash_of(path: Path) -> str:
    """In blocks: a process's peak of memory counts what its parent had when it was started, and a file may be a bomb."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


class Scene:
    """One server, one backup directory, one command line.

    Attributes:
        server: the server process.
        lab: the same server and backup directory for direct work: `lab.put`, `lab.call`, `lab.back_up`.
        line: the command line under test; its settings point to the relay once `through_relay` was called.
        temporary: what the command finds as its directory for temporary files; must be empty afterwards.
        backup: what `{backup}` in a command stands for.
        goal: what the server holds after a restore that succeeded; None where nothing is restored.
        witnesses: where secrets must not arrive: what each foreign server was sent.
    """

    def __init__(self, server: RunningServer, directory: Path) -> None:
        self.server = server
        self.lab: Lab = lab_at(server, directory)
        self.temporary = directory / "temporary"
        self.temporary.mkdir(parents=True)
        self.line = CommandLine.at(directory, server, TMPDIR=str(self.temporary))
        self.line.clock = SystemClock  # what a fault left under way goes on while the next command waits
        self.backup = "latest"
        self.goal: dict[str, Any] | None = None
        self.witnesses: list[Any] = []
        self.relay: Relay | None = None
        self.log = directory / "system-calls"

    def through_relay(self) -> Relay:
        """The relay that stands before the server from now on."""
        if self.relay is None:
            self.relay = Relay(self.server.port)
            self.line.settings["QDRANT_PORT"] = str(self.relay.port)
        return self.relay

    def without_faults(self) -> CommandLine:
        """The same command line, past every fault. A relay without rules stays: its address is the server's in our notes."""
        port = self.server.port if self.relay is None else self.relay.port
        line = dataclasses.replace(self.line, settings={**self.line.settings, "QDRANT_PORT": str(port)})
        line.settings.pop("QDRANT_URL", None)
        return line

    def install(self) -> None:
        """An installation whose `.env` holds the canary."""
        (self.line.install / "docker").mkdir(parents=True, exist_ok=True)
        env = self.line.install / "docker" / ".env"
        env.write_text(f"QDRANT_PORT=26350\nOTHER_SECRET={CANARY}\n")
        env.chmod(0o600)

    def files(self) -> dict[str, tuple[int, str]]:
        """Every file of every published backup."""
        found: dict[str, tuple[int, str]] = {}
        for backup in self.line.published():
            for path in sorted(backup.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    found[path.relative_to(self.line.backups).as_posix()] = (path.stat().st_mode, _hash_of(path))
        return found

    def snapshots(self) -> frozenset[str]:
        """The server's snapshot files, of collections that are there."""
        return frozenset(self.lab.left_on_server())

    def before(self) -> Before:
        """What stands there now."""
        files = self.files()
        listed = tuple(sorted({name.partition("/")[0] for name in files}))
        return Before(listed, files, self.lab.state(), self.snapshots())

    def run(self, case: Case) -> Watched:
        """The case's command, with everything that goes wrong, to its end."""
        words = [word.replace("{backup}", self.backup) for word in case.run]
        program = list(PROGRAM)
        if case.system is not None:
            below = [path if path.startswith("/") else str(self.line.backups / path) for path in case.system.below]
            program = dataclasses.replace(case.system, below=below).command(program, self.log)
        process = self.line.start(*words, env=dict(case.settings), program=program, **dict(case.options))
        during = case.during
        return watch(process, DEADLINE_S, None if during is None else lambda running: during(self, running))

    def close(self) -> None:
        """Stop what the scene started."""
        if self.relay is not None:
            self.relay.close()
        for witness in self.witnesses:
            witness.close()
        if self.line.directory not in self.temporary.parents:
            shutil.rmtree(self.temporary)


def backup_world(scene: Scene) -> None:
    """The guide's three collections, an installation with secrets, and an earlier backup that must stay as it is."""
    small_world(scene.lab)
    scene.install()
    scene.line.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    published(scene.line.backups)


def restore_world(scene: Scene) -> None:
    """The guide's three collections in a backup, and each of them changed since."""
    small_world(scene.lab)
    scene.install()
    ran = scene.line.inside("backup")
    assert ran.code == 0, ran
    scene.goal = scene.lab.state()
    scene.backup = scene.line.published()[-1].name
    for number, name in enumerate(("discussions", "conventions", "code-patterns")):
        scene.lab.put(name, points_of(3, seed=40 + number, first=500))
        scene.lab.call("POST", path_of(name, "points/delete?wait=true"), {"points": [1, 3]})
