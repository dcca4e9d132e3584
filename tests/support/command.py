"""The real command line, as a process of its own in an environment of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from qdrant_backup.cli.exits import run
from qdrant_backup.cli.main import cli
from qdrant_backup.clock import SystemClock
from support.clocks import BriskClock
from support.servers import API_KEY, RunningServer

__all__ = ["LONGEST_S", "CommandLine", "Ran", "tree_of", "until"]

PROGRAM = [sys.executable, "-c", "from qdrant_backup.cli.main import main; main()"]
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "PYTHONPATH", "VIRTUAL_ENV")
LONGEST_S = 600.0
"""After which a command hangs for sure, also beside others and under strace."""


@dataclasses.dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error object on standard error, behind whatever else stands there."""
        return json.loads(self.err.splitlines()[-1])["error"]

    def ok(self) -> Ran:
        assert self.code == 0, self
        return self

    def failed(self, code: int, *words: str) -> Ran:
        """Ended with `code`, said what, why and what to do, each of `words` among it, and showed no traceback."""
        assert self.code == code, self
        assert "Traceback" not in self.err, self.err
        lines = self.err.splitlines()
        begun = next((number for number, line in enumerate(lines) if line.startswith("✗ ")), None)
        assert begun is not None, self.err
        assert lines[begun + 1].startswith("  "), self.err
        assert not lines[begun + 1].startswith("  →"), self.err
        assert any(line.startswith("  → ") for line in lines[begun + 1 :]), self.err
        for word in words:
            assert word in self.err, (word, self.err)
        return self


@dataclasses.dataclass
class CommandLine:
    """Runs `qdrant-backup` with nothing of this process's settings.

    Attributes:
        directory: the working directory; the backup directory and the installation lie in it.
        settings: environment variables that count as settings.
        clock: what `inside` waits on; see `BriskClock` for when to take the system's.
    """

    directory: Path
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    clock: type[SystemClock] = BriskClock

    def __post_init__(self) -> None:
        self.backups = self.directory / "backups"
        self.install = self.directory / "install"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.settings = {
            "AI_MEMORY_BACKUP_DIR": str(self.backups),
            "AI_MEMORY_INSTALL_DIR": str(self.install),
            "SNAPSHOT_UPLOAD_TIMEOUT": "60",
            **self.settings,
        }

    @classmethod
    def at(cls, directory: Path, server: RunningServer, **settings: str) -> CommandLine:
        reach = {"QDRANT_HOST": "127.0.0.1", "QDRANT_PORT": str(server.port), "QDRANT_API_KEY": API_KEY}
        return cls(directory, reach | settings)

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        given: dict[str, str | None] = {name: os.environ[name] for name in KEPT if name in os.environ}
        given |= {"HOME": str(self.directory), "TZ": "UTC", "PYTHONUTF8": "1", "PYTHONWARNINGS": "error"}
        given |= self.settings
        given |= changes or {}
        return {name: text for name, text in given.items() if text is not None}

    def start(
        self,
        *words: str | Path,
        env: Mapping[str, str | None] | None = None,
        program: list[str] = PROGRAM,
        **options: Any,
    ) -> Any:
        """The running process, its streams piped as text unless `options` say otherwise."""
        given: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "cwd": self.directory,
            "env": self.environment(env),
            **options,
        }
        return subprocess.Popen([*program, *map(str, words)], **given)

    def ended(self, process: Any, timeout: float = LONGEST_S) -> Ran:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"still running after {timeout:.0f} s: {out}\n{err}") from None
        return Ran(process.returncode, out or "", err or "")

    def run(self, *words: str | Path, env: Mapping[str, str | None] | None = None, **options: Any) -> Ran:
        return self.ended(self.start(*words, env=env, **options))

    def inside(self, *words: str | Path, env: Mapping[str, str | None] | None = None) -> Ran:
        """The same in this process: seconds saved where no process's end, signal or stream is in question."""
        out, err = io.StringIO(), io.StringIO()
        given = self.environment(env)
        with (
            mock.patch.dict(os.environ, given, clear=True),
            Path(os.devnull).open() as nothing,
            mock.patch.object(sys, "stdin", nothing),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch("qdrant_backup.clock.SystemClock", self.clock),
        ):
            code = run(cli, list(map(str, words)), self.directory)
        return Ran(code, out.getvalue(), err.getvalue())

    def published(self) -> list[Path]:
        """The published backups, oldest first."""
        if not self.backups.is_dir():
            return []
        return sorted(path for path in self.backups.iterdir() if not path.name.startswith("."))

    def wrecks(self) -> list[str]:
        """What a run must not leave in the backup directory."""
        allowed = {".lock", ".catalogue.json", ".golden.json", ".intents", ".undo", ".drills"}
        hidden = [path for path in self.backups.iterdir() if path.name.startswith(".") and path.name not in allowed]
        return [path.name for path in hidden] + [
            path.name for place in (".intents", ".drills") for path in self.backups.glob(f"{place}/*")
        ]


def tree_of(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and directory below `root` with its mode, and its bytes or its link's target."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        data = b""
        if path.is_symlink():
            data = os.fsencode(path.readlink())
        elif path.is_file():
            data = path.read_bytes()
        found[path.relative_to(root).as_posix()] = (mode, data)
    return found


def until(happened: Callable[[], bool], process: Any) -> None:
    """Wait until something happened or the process ended."""
    deadline = time.monotonic() + LONGEST_S
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
