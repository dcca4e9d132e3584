"""S02: a key over plain http to another host is refused before anything is sent, in a network of the test's own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from faults.harness.plugin import missing
from faults.harness.scene import Scene
from faults.harness.worlds import NAME, one_changed
from support.command import PROGRAM, Ran
from support.servers import API_KEY

pytestmark = [pytest.mark.fault("S02", quick=False)]

HOST = "10.11.12.13"
INTO_KEY = "key-of-another-server"
NETWORK = [
    "unshare", "-n", "sh", "-c", f'ip address add {HOST}/32 dev lo && ip link set lo up && exec "$@"', "sh",
]  # fmt: skip
OTHER_HOST = """
import http.server, json, os, subprocess, sys, threading

heard = []

class Listener(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        heard.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer((sys.argv[2], 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = str(server.server_address[1])
words = [word.replace("{port}", port) for word in sys.argv[3:]]
code = subprocess.run(words, env={**os.environ, "QDRANT_PORT": port}).returncode
with open(sys.argv[1], "w") as file:
    json.dump(heard, file)
sys.exit(code)
"""

COMMANDS = {
    "backup": ("backup",),
    "restore": ("restore", "{backup}", "--force"),
    "status": ("status",),
    "check": ("check",),
    "diff": ("diff", "{backup}", "live"),
    "recover": ("recover", "--from", "{backup}", "--deleted", "--yes", "--collection", NAME),
    "undo": ("undo", "--yes"),
}


def has_networks() -> bool:
    if missing(["unshare", "ip"]):
        return False
    return subprocess.run([*NETWORK, "true"], capture_output=True, timeout=60, check=False).returncode == 0


@dataclasses.dataclass
class Elsewhere:
    """A network with another host in it.

    Attributes:
        scene: the backup directory that commands find.
    """

    scene: Scene

    def run(self, *words: str, **settings: str | None) -> tuple[Ran, list[dict[str, str]]]:
        """How the command ended, and what the other host heard of it."""
        log = self.scene.line.directory / "heard"
        given = [word.replace("{backup}", self.scene.backup) for word in words]
        host = [sys.executable, "-c", OTHER_HOST, str(log), HOST, *PROGRAM]
        env = {"QDRANT_HOST": HOST, "SNAPSHOT_UPLOAD_TIMEOUT": "20", **settings}
        ran = self.scene.line.ended(self.scene.line.start(*given, env=env, program=[*NETWORK, *host]))
        return ran, json.loads(log.read_text())


@pytest.fixture(scope="module")
def elsewhere(shared_servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    if not has_networks():
        pytest.skip("needs unshare -n, and ip")
    scene = Scene(shared_servers.get("embedded"), tmp_path_factory.mktemp("scene"))
    one_changed(scene)
    scene.server.empty()
    return Elsewhere(scene)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_sends_the_key(elsewhere: Elsewhere, command: str) -> None:
    ran, heard = elsewhere.run(*COMMANDS[command])
    assert heard == []
    assert ran.code == 8, ran
    assert "API key was not sent" in ran.out + ran.err
    assert API_KEY not in ran.out + ran.err


def test_nor_to_the_server_that_is_restored_into(elsewhere: Elsewhere) -> None:
    words = (*COMMANDS["restore"], "--into-url", f"http://{HOST}:{{port}}")
    ran, heard = elsewhere.run(*words, QDRANT_INTO_API_KEY=INTO_KEY, QDRANT_HOST="127.0.0.1")
    assert (ran.code, heard) == (8, []), ran
    assert INTO_KEY not in ran.out + ran.err


@pytest.mark.parametrize("allow", [("--allow-plain-http",), ()], ids=["flag", "setting"])
def test_where_it_is_allowed_the_key_goes(elsewhere: Elsewhere, allow: tuple[str, ...]) -> None:
    settings: dict[str, str | None] = {} if allow else {"QDRANT_BACKUP_ALLOW_HTTP": "1"}
    ran, heard = elsewhere.run("backup", *allow, **settings)
    assert ran.code == 1, ran
    assert [one.get("api-key") for one in heard] == [API_KEY]


def test_without_a_key_there_is_nothing_to_refuse(elsewhere: Elsewhere) -> None:
    ran, heard = elsewhere.run("backup", QDRANT_API_KEY=None)
    assert ran.code == 1, ran
    assert heard
    assert all("api-key" not in one for one in heard)
