"""Servers to test against: the embedded one always, a real one where a `qdrant` binary is on PATH.

server            each in turn (ids `embedded` and `real`), shared by a worker's tests and emptied after each of them
fresh_server      each in turn, started for this test alone: it may be killed and started again
embedded_server   the embedded one that `server` shares; `script` gives it faults, forgotten after the test
fresh_embedded    an embedded one for this test alone, with faults
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["API_KEY", "READ_ONLY_API_KEY", "NotStarted", "RunningServer", "start_embedded", "start_real"]

API_KEY = "key-for-tests"
READ_ONLY_API_KEY = "read-only-key-for-tests"
START_S = 120.0
END_S = 30.0
STARTS = 5


class NotStarted(RuntimeError):
    """The process ended before it was ready: most often somebody else took its port."""


@dataclasses.dataclass
class RunningServer:
    """A server process of our own.

    Attributes:
        kind: `embedded` or `real`.
        port: its REST port; stays the same over `restart`.
        data_dir: its whole state; `restart` starts on it again.
    """

    kind: str
    port: int
    data_dir: Path
    process: subprocess.Popen[bytes]
    start: Callable[[Path, int], RunningServer] = dataclasses.field(repr=False)
    api_key: str = API_KEY
    read_only_api_key: str = READ_ONLY_API_KEY

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def client(self, api_key: str | None = None, **options: Any) -> Any:
        """The stock client."""
        from qdrant_client import QdrantClient

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return QdrantClient(
                url=self.url,
                api_key=api_key or self.api_key,
                timeout=options.pop("timeout", 120),
                check_compatibility=False,
                **options,
            )

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = API_KEY,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """One request: its status, and its body decoded where it is JSON. `bytes` are sent as they are."""
        given = {"accept-encoding": "identity", **(headers or {})}
        if key:
            given["api-key"] = key
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            given.setdefault("content-type", "application/json")
        request = urllib.request.Request(self.url + path, data, given, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as answer:
                status, raw = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, raw = error.code, error.read()
        try:
            return status, json.loads(raw)
        except ValueError:
            return status, raw

    def upload(self, path: str, archive: bytes, name: str = "upload.snapshot") -> tuple[int, Any]:
        """POST an archive as the form that the server wants."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="snapshot"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + archive + f"\r\n--{boundary}--\r\n".encode()
        return self.call("POST", path, body, headers={"content-type": f"multipart/form-data; boundary={boundary}"})

    def script(self, *faults: dict[str, Any]) -> None:
        """Let these faults strike from now on (embedded only; engine/rest/faults.py has the words)."""
        status, answer = self.call("PUT", "/__faults", list(faults))
        assert status == 200, answer

    def fired(self) -> list[int]:
        """How often each scripted fault struck."""
        return [fault["fired"] for fault in self.call("GET", "/__faults")[1]]

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(END_S)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not heard."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def restart(self) -> None:
        """Start again on the same data and port; kill or stop it first."""
        again = self.start(self.data_dir, self.port)
        self.process, self.port = again.process, again.port

    def empty(self) -> None:
        """Delete everything a test left, fault scripts first."""
        if self.kind == "embedded":
            self.script()
        for alias in self.call("GET", "/aliases")[1]["result"]["aliases"]:
            deleted = {"delete_alias": {"alias_name": alias["alias_name"]}}
            self.call("POST", "/collections/aliases", {"actions": [deleted]})
        for collection in self.call("GET", "/collections")[1]["result"]["collections"]:
            path = f"/collections/{urllib.parse.quote(collection['name'], safe='')}"
            status, answer = self.call("GET", path)
            shards = range(answer["result"]["config"]["params"]["shard_number"]) if status == 200 else ()
            for place in (path, *(f"{path}/shards/{number}" for number in shards)):
                status, answer = self.call("GET", f"{place}/snapshots")
                for snapshot in answer["result"] if status == 200 else ():
                    self.call("DELETE", f"{place}/snapshots/{urllib.parse.quote(snapshot['name'], safe='')}")
            self.call("DELETE", path)
        # A snapshot that was finished only after its collection was deleted is listed again when the next test makes one
        # of that name.
        for left in (self.data_dir / "snapshots").glob("*/*.snapshot*"):
            left.unlink(missing_ok=True)


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None:
            raise NotStarted(f"exit code {process.returncode}")
        if time.monotonic() > deadline:
            process.kill()
            process.wait(END_S)
            raise NotStarted(f"not ready after {START_S:.0f} s")
        time.sleep(0.02)


def start_embedded(data_dir: Path, port: int = 0, *options: str) -> RunningServer:
    """The embedded server as a process of its own."""
    beside = data_dir.parent / f"{data_dir.name}-{secrets.token_hex(4)}"
    beside.mkdir(parents=True)
    files = {"api-key-file": API_KEY, "read-only-api-key-file": READ_ONLY_API_KEY, "faults": "[]"}
    command = [sys.executable, "-m", "qdrant_backup.engine.rest", "--data", str(data_dir), "--port", str(port)]
    for name, text in files.items():
        (beside / name).write_text(text)
        command += [f"--{name}", str(beside / name)]
    port_file = beside / "port"
    with (beside / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--port-file", str(port_file), *options], stdout=log, stderr=log)
    try:
        _wait_until(port_file.exists, process)
    except NotStarted as error:
        raise NotStarted(f"{error}: {(beside / 'log').read_text()[-2000:]}") from None
    return RunningServer("embedded", int(port_file.read_text()), data_dir, process, start_embedded)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_real(
    data_dir: Path, port: int = 0, *, settings: Mapping[str, str] | None = None, within: Sequence[str] = ()
) -> RunningServer:
    """A real server; a free port found is taken by somebody else now and then, hence several tries.

    `settings` are more of its environment; `within` is a command that runs it, such as `unshare -m ...`.
    """
    binary = shutil.which("qdrant")
    assert binary is not None
    for attempt in range(STARTS):
        rest, grpc = port or _free_port(), _free_port()
        data_dir.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(rest),
            "QDRANT__SERVICE__GRPC_PORT": str(grpc),
            "QDRANT__SERVICE__API_KEY": API_KEY,
            "QDRANT__SERVICE__READ_ONLY_API_KEY": READ_ONLY_API_KEY,
            "QDRANT__STORAGE__STORAGE_PATH": str(data_dir / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(data_dir / "snapshots"),
            **(settings or {}),
        }
        with (data_dir / "log").open("ab") as log:
            process = subprocess.Popen(
                [*within, binary, "--disable-telemetry"], cwd=data_dir, env=environment, stdout=log, stderr=log
            )
        again = functools.partial(start_real, settings=settings, within=within)
        server = RunningServer("real", rest, data_dir, process, again)
        try:
            _wait_until(lambda server=server: _ready(server), process)
        except NotStarted as error:
            if attempt + 1 == STARTS:
                raise NotStarted(f"{error}: {(data_dir / 'log').read_text()[-2000:]}") from None
            continue
        return server
    raise AssertionError


def _ready(server: RunningServer) -> bool:
    try:
        return server.call("GET", "/readyz")[0] == 200
    except OSError:
        return False


STARTERS: dict[str, Callable[[Path], RunningServer]] = {"embedded": start_embedded, "real": start_real}
KINDS = [pytest.param("embedded", id="embedded"), pytest.param("real", id="real", marks=pytest.mark.real)]


class _Shared:
    """The servers of a worker, each started when it is first asked for, and again when a test killed it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, RunningServer] = {}

    def get(self, kind: str) -> RunningServer:
        found = self._running.get(kind)
        if found is None or not found.alive:
            found = STARTERS[kind](self._directory / f"{kind}-{secrets.token_hex(4)}")
            self._running[kind] = found
        return found

    def stop(self) -> None:
        for server in self._running.values():
            server.stop()


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Shared]:
    shared = _Shared(tmp_path_factory.mktemp("servers"))
    yield shared
    shared.stop()


def _lent(server: RunningServer) -> Iterator[RunningServer]:
    yield server
    if server.alive:
        server.empty()


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, shared_servers: _Shared) -> Iterator[RunningServer]:
    yield from _lent(shared_servers.get(request.param))


@pytest.fixture
def embedded_server(shared_servers: _Shared) -> Iterator[RunningServer]:
    yield from _lent(shared_servers.get("embedded"))


@pytest.fixture(params=KINDS)
def fresh_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    made = STARTERS[request.param](tmp_path / "server")
    yield made
    made.stop()


@pytest.fixture
def fresh_embedded(tmp_path: Path) -> Iterator[RunningServer]:
    made = start_embedded(tmp_path / "server")
    yield made
    made.stop()
