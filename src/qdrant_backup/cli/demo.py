"""`demo`: the guide's day on this machine alone. Every command it shows is really run, as it is shown."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import OperationFailed
from qdrant_backup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Generator

    from qdrant_backup.cli.console import Console
    from qdrant_backup.qdrant.server import Server

__all__ = ["demo"]

_START_S = 60.0
_END_S = 10.0
_POLL_S = 0.05
_DIFFERENT = 10
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TERM", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV", "PYTHONPATH", "NO_COLOR")
_THIS_PROGRAM = "from qdrant_backup.cli.main import main; main()"


@click.command()
@click.option("--keep", is_flag=True, help="Leave the temporary directory there, to look at.")
@click.pass_obj
def demo(invocation: Any, *, keep: bool) -> None:
    """Back up, lose and restore a small AI Memory, on the embedded server, in a temporary directory."""
    console = Wiring(invocation, {}).console
    with contextlib.ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="qdrant-backup-demo-"))
        if not keep:
            stack.callback(_remove, root)
        _Demo(console, root).run()
        if keep:
            console.line(f"Kept: {root}")


def _remove(root: Path) -> None:
    import shutil

    shutil.rmtree(root, ignore_errors=True)


class _Demo:
    def __init__(self, console: Console, root: Path) -> None:
        self._console = console
        self._root = root
        self._key = secrets.token_hex(16)
        self._environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}

    def run(self) -> None:
        """The whole story."""
        self._installation()
        self._say("An AI Memory, as its installer leaves it: a Qdrant server with a key, and config files.")
        with self._server_running() as port:
            self._environment |= {
                "QDRANT_PORT": str(port),
                "AI_MEMORY_INSTALL_DIR": str(self._root / "ai-memory"),
                "AI_MEMORY_BACKUP_DIR": str(self._root / "backups"),
                "HOME": str(self._root),
            }
            self._day(self._connected(port))

    def _day(self, server: Server) -> None:
        from qdrant_backup.operations.demo import memory

        count = memory.fill(server)
        self._say(f"It holds {count} memories in five collections. First, a backup:")
        self._type("backup")
        self._say("What do we have now?")
        self._type("list")
        lost = memory.forget(server)
        self._say(f"Then a faulty agent deletes what project {memory.LOST} ever discussed: {len(lost)} memories.")
        self._type("status")
        self._say("What would a restore do? Nothing is touched yet:")
        self._type("restore", "latest", "--collection", "discussions", "--dry-run")
        self._say("Restore it. What is there now is backed up first, so that even this can be undone:")
        self._type("restore", "latest", "--collection", "discussions", "--force")
        self._say("Everything back? The backup is opened in the embedded engine and every point is compared:")
        self._type("verify", "latest", "--content")
        self._type("status")
        self._require_all(server, count)
        self._second_loss(server, count)

    def _second_loss(self, server: Server, count: int) -> None:
        from qdrant_backup.operations.demo import memory

        lost = memory.forget(server)
        self._say("The agent does it again. This time nothing else may be touched; so first, what exactly is gone?")
        self._type("diff", "latest", "--stat", expected=_DIFFERENT)
        self._say("The backup can be searched without restoring it:")
        self._type("search", "latest", "refresh token race", "--limit", "1")
        self._say(f"Bring back the {len(lost)} lost memories alone:")
        self._type("recover", "--from", "latest", "--deleted", "--collection", "discussions", "--yes")
        self._require_all(server, count)
        self._say(f"All {count} memories are back. The same commands work against your own server: see README.md.")

    def _require_all(self, server: Server, count: int) -> None:
        found = sum(server.count(name) for name in server.collections())
        if found != count:
            raise OperationFailed("the demo failed", why=f"{found} of {count} memories are there after it")

    def _say(self, text: str) -> None:
        self._console.line()
        self._console.line(f"# {text}")

    def _type(self, *words: str, expected: int = 0) -> None:
        """Show a command and run it, as a process of its own."""
        self._console.line()
        self._console.line(f"$ qdrant-backup {shlex.join(words)}")
        command = [sys.executable, "-c", _THIS_PROGRAM, *words]
        done = subprocess.run(command, cwd=self._root, env=self._environment, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != expected:
            raise OperationFailed(f"the demo's command `{words[0]}` ended with {done.returncode}")

    def _installation(self) -> None:
        home = self._root / "ai-memory"
        (home / "docker").mkdir(parents=True)
        (home / "version.txt").write_text("2.2.3\n", "utf-8")
        (home / "settings.json").write_text('{"hooks": {"session_stop": "remember"}}\n', "utf-8")
        env = home / "docker" / ".env"
        env.touch(mode=0o600)
        env.write_text(f"QDRANT_API_KEY={self._key}\n", "utf-8")
        key_file = self._root / "key"
        key_file.touch(mode=0o600)
        key_file.write_text(self._key, "utf-8")

    @contextlib.contextmanager
    def _server_running(self) -> Generator[int]:
        port_file = self._root / "port"
        words = ["dev-server", "--port", "0", "--data", "server", "--api-key-file", "key", "--port-file", "port"]
        command = [sys.executable, "-c", _THIS_PROGRAM, *words]
        server = subprocess.Popen(command, cwd=self._root, env=self._environment, stdout=subprocess.DEVNULL)
        try:
            yield self._port(port_file, server)
        finally:
            server.terminate()
            try:
                server.wait(_END_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def _port(self, port_file: Path, server: subprocess.Popen[bytes]) -> int:
        from qdrant_backup.clock import SystemClock

        clock = SystemClock()
        deadline = clock.monotonic() + _START_S
        while not port_file.exists():
            if server.poll() is not None or clock.monotonic() > deadline:
                raise OperationFailed("the embedded server did not start", why="see the lines above")
            clock.sleep(_POLL_S)
        return int(port_file.read_text("utf-8"))

    def _connected(self, port: int) -> Server:
        from qdrant_backup.clock import SystemClock
        from qdrant_backup.qdrant.http import Http
        from qdrant_backup.qdrant.server import Server
        from qdrant_backup.qdrant.target import Target

        target = Target.parse(f"http://127.0.0.1:{port}", api_key=Secret(self._key))
        return Server(Http(target, clock=SystemClock()))
