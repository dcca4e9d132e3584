"""Bad input: a message in three parts, the exit code of the table, no traceback, and nothing changed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.storage.stored import StoredBackup
from support.command import CommandLine, tree_of
from support.contracts import matches
from support.damaged import copied, rewrite_manifest
from support.relay import Answer, Relay, Rule
from support.restoring import Lab, points_of
from support.servers import READ_ONLY_API_KEY, RunningServer, _Shared
from support.stored import published
from support.worlds import lab_at

Relaying = Callable[[RunningServer], Relay]
SETTINGS_GRPC = (
    b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x7f\xff\xff\xff\x00\x04\x00\x10\x00\x00\x00\x06\x00\x00@\x00"
)


@pytest.fixture
def docs(embedded: Lab) -> Iterator[Lab]:
    """A server with one collection, which is the same afterwards."""
    embedded.make("docs", points_of(3))
    before = embedded.state()
    yield embedded
    assert embedded.state() == before
    assert embedded.left_on_server() == []


def refused(line: CommandLine, code: int, words: list[str | Path], *texts: str, **env: str | None) -> None:
    """The command fails as it must, twice: for people and as JSON; and changes nothing here."""
    before = tree_of(line.directory)
    line.inside(*words, env=env).failed(code, *texts)
    assert tree_of(line.directory) == before
    ran = line.inside(*words, "--json", env=env)
    matches("errors", json.loads(ran.err.splitlines()[-1]))
    assert (ran.code, ran.error["code"]) == (code, code)
    assert ran.error["advice"]
    assert tree_of(line.directory) == before


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("command", ["backup", "status"])
def test_nobody_at_the_port(embedded_line: CommandLine, command: str) -> None:
    port = closed_port()
    texts = ["docker compose up -d", f"127.0.0.1:{port}", "connection refused"]
    before = tree_of(embedded_line.directory)
    embedded_line.inside(command, env={"QDRANT_PORT": port}).failed(1, *texts)
    assert tree_of(embedded_line.directory) == before
    ran = embedded_line.inside(command, "--json", env={"QDRANT_PORT": port})
    assert (ran.code, ran.error["class"]) == (1, "connection")
    assert "docker compose up -d" in ran.error["advice"]


def test_restore_calls_the_same_3(embedded_line: CommandLine) -> None:
    published(embedded_line.backups)
    before = tree_of(embedded_line.backups / "2026-02-03_143052")
    # What is no archive is found before the server is asked; a connection that fails must not hide it.
    ran = embedded_line.inside("restore", "latest", "--force", env={"QDRANT_PORT": closed_port()})
    assert ran.code in {3, 5}, ran
    assert tree_of(embedded_line.backups / "2026-02-03_143052") == before


def test_an_unknown_host(embedded_line: CommandLine) -> None:
    refused(
        embedded_line, 1, ["backup"], "host.invalid", "docker compose up -d",
        QDRANT_HOST="host.invalid", QDRANT_BACKUP_ALLOW_HTTP="1",
    )  # fmt: skip


def test_a_key_over_plain_http_to_another_host(embedded_line: CommandLine) -> None:
    ran = embedded_line.inside("backup", env={"QDRANT_HOST": "host.invalid"})
    assert ran.code in {8, 64}, ran
    assert "https" in ran.err


@pytest.mark.parametrize(
    ("key", "texts"),
    [(None, ["QDRANT_API_KEY"]), ("a-wrong-key", ["QDRANT_API_KEY"]), (READ_ONLY_API_KEY, ["snapshot"])],
    ids=["none", "wrong", "read-only"],
)
def test_a_key_that_may_not(embedded_line: CommandLine, docs: Lab, key: str | None, texts: list[str]) -> None:
    refused(embedded_line, 9, ["backup"], *texts, QDRANT_API_KEY=key)


@pytest.mark.parametrize("port", ["many", "0", "65536", "-1", "6333 "])
def test_a_port_that_is_none(embedded_line: CommandLine, port: str) -> None:
    refused(embedded_line, 64, ["backup"], "QDRANT_PORT", "65535", QDRANT_PORT=port)
    refused(embedded_line, 64, ["status", "--port", port], "65535")


@pytest.mark.parametrize(
    "words",
    [
        ["backup", "--colection", "x"],
        ["backup", "docs"],
        ["bakcup"],
        ["show", "a", "b"],
        ["backup", "--method", "fast"],
    ],
    ids=" ".join,
)
def test_words_that_make_no_sense(embedded_line: CommandLine, words: list[str | Path]) -> None:
    ran = embedded_line.inside(*words)
    assert ran.code == 64, ran
    assert ran.err.startswith("✗ ")
    assert "  → See `qdrant-backup" in ran.err
    assert not embedded_line.backups.exists()


def test_a_collection_that_is_not_there(embedded_line: CommandLine, docs: Lab) -> None:
    refused(embedded_line, 2, ["backup", "--collection", "nowhere"], "nowhere", "docs", "status")


def test_an_output_that_is_a_file_or_lies_below_one(embedded_line: CommandLine, docs: Lab) -> None:
    path = embedded_line.directory / "file"
    path.write_text("mine")
    refused(embedded_line, 2, ["backup", "--output", path], str(path), "--output")
    refused(embedded_line, 2, ["backup", "--output", path / "deeper"], str(path), "--output")


def test_an_output_without_the_right_to_write(embedded_line: CommandLine, docs: Lab) -> None:
    closed = embedded_line.directory / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write everywhere")
    refused(embedded_line, 2, ["backup", "--output", closed], str(closed), "--output")


def test_a_web_page_is_not_qdrant(embedded_line: CommandLine, embedded: Lab, relay_to: Relaying) -> None:
    relay = relay_to(embedded.running)
    page = Answer(200, b"<!DOCTYPE html><html>Sign in</html>", (("content-type", "text/html"),))
    relay.rules.append(Rule("*", page, times=9))
    refused(embedded_line, 1, ["backup"], "REST", QDRANT_PORT=str(relay.port))


def test_a_proxys_502_is_not_qdrant(embedded_line: CommandLine, embedded: Lab, relay_to: Relaying) -> None:
    relay = relay_to(embedded.running)
    page = Answer(502, b"<html>Bad Gateway</html>", (("content-type", "text/html"),))
    relay.rules.append(Rule("*", page, times=99))
    embedded_line.inside("backup", env={"QDRANT_PORT": str(relay.port)}).failed(1, "502")


@contextlib.contextmanager
def grpc_port() -> Iterator[int]:
    """Answers as an HTTP/2 server does: with its settings, whatever is said to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    client.sendall(SETTINGS_GRPC)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_the_grpc_port_is_named_as_such(embedded_line: CommandLine) -> None:
    with grpc_port() as port:
        refused(embedded_line, 1, ["backup"], "gRPC", "REST port", QDRANT_PORT=str(port))


@pytest.fixture(scope="module")
def good(shared_servers: _Shared, tmp_path_factory: pytest.TempPathFactory) -> StoredBackup:
    lab = lab_at(shared_servers.get("embedded"), tmp_path_factory.mktemp("good"))
    lab.make("docs", points_of(10))
    made = lab.back_up()
    lab.running.empty()
    return made


@pytest.mark.parametrize("name", ["nothing", "2026", "2026-01-01_000000", "/nowhere/at/all", "latest"])
def test_a_backup_that_is_not_there(embedded_line: CommandLine, name: str) -> None:
    refused(embedded_line, 2, ["show", name], "qdrant-backup")
    refused(embedded_line, 2, ["verify", name], "qdrant-backup")
    refused(embedded_line, 1, ["restore", name, "--force"], "qdrant-backup")


def _nothing(path: Path) -> None:
    (path / "manifest.json").unlink()


def _written(text: str) -> Callable[[Path], Any]:
    return lambda path: (path / "manifest.json").write_text(text)


MANIFESTS: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "missing": (_nothing, 2, "never finished"),
    "empty": (_written(""), 2, "empty"),
    "not JSON": (_written("{"), 2, "not a valid manifest"),
    "a list": (_written("[]"), 2, "not a valid manifest"),
    "without what every manifest has": (_written("{}"), 2, "not a valid manifest"),
    "deep": (_written("[" * 100_000), 2, "not a valid manifest"),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_is_none(embedded_line: CommandLine, good: StoredBackup, what: str) -> None:
    spoil, code, text = MANIFESTS[what]
    there = copied(good, embedded_line.backups)
    spoil(there.path)
    refused(embedded_line, code, ["show", there.backup_id], text)
    refused(embedded_line, code, ["verify", there.path], text)
    refused(embedded_line, code, ["restore", there.path, "--force"], text)
    ran = embedded_line.inside("list").ok()
    assert there.backup_id in ran.err
    assert "not a backup" in ran.err


def _newer(raw: dict[str, Any]) -> None:
    raw["format"] = 2
    raw["collections"] = "what nobody knows yet"


def _climbing(raw: dict[str, Any]) -> None:
    raw["collections"]["docs"]["snapshot_file"] = "../../secret"


def _absolute(raw: dict[str, Any]) -> None:
    raw["files"][0]["path"] = "/etc/passwd"


@pytest.mark.parametrize(
    ("change", "code", "text"), [(_newer, 7, "format 2"), (_climbing, 5, "../../secret"), (_absolute, 5, "/etc/passwd")]
)
def test_a_manifest_of_a_newer_format_or_with_a_path_that_climbs(
    embedded_line: CommandLine, good: StoredBackup, change: Callable[[dict[str, Any]], None], code: int, text: str
) -> None:
    there = copied(good, embedded_line.backups)
    rewrite_manifest(there, change)
    refused(embedded_line, code, ["show", there.backup_id], text)
    refused(embedded_line, code, ["verify", there.backup_id], text)
    refused(embedded_line, code, ["restore", there.backup_id, "--force"], text)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _link(path: Path) -> None:
    elsewhere = path.parents[3] / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


SNAPSHOTS: dict[str, tuple[Callable[[Path], Any], set[int]]] = {
    "missing": (lambda path: path.unlink(), {2, 5}),
    "empty": (lambda path: path.write_bytes(b""), {5}),
    "cut": (lambda path: os.truncate(path, 10_000), {5}),
    "one bit flipped": (_flip, {5}),
    "a symlink": (_link, {5}),
}


@pytest.mark.parametrize("what", SNAPSHOTS)
def test_a_snapshot_that_is_damaged(embedded_line: CommandLine, docs: Lab, good: StoredBackup, what: str) -> None:
    spoil, restore_codes = SNAPSHOTS[what]
    there = copied(good, embedded_line.backups)
    snapshot = there.path / "qdrant" / "docs.snapshot"
    spoil(snapshot)
    before = tree_of(there.path)
    for words in (["verify"], ["verify", "--content"], ["verify", "--all"]):
        ran = embedded_line.inside(*words, there.path if words == ["verify"] else "--json")
        assert (ran.code, "Traceback" in ran.err) == (2 if "latest" in ran.err else 5, False), ran
    embedded_line.inside("verify", there.backup_id).failed(5, "docs.snapshot")
    assert embedded_line.inside("list", "--json").ok().json[0]["level"] == "damaged"
    ran = embedded_line.inside("restore", there.path, "--force")
    assert ran.code in restore_codes, ran
    assert "docs.snapshot" in ran.err
    assert tree_of(there.path) == before


def test_a_second_run_at_the_same_time(embedded_line: CommandLine, docs: Lab) -> None:
    from qdrant_backup.clock import SystemClock
    from qdrant_backup.storage.lock import DirectoryLock

    embedded_line.backups.mkdir()
    with DirectoryLock(embedded_line.backups, SystemClock(), "backup"):
        embedded_line.inside("backup").failed(6, str(os.getpid()))
    assert embedded_line.published() == []


def test_a_prefix_that_could_mean_several(embedded_line: CommandLine) -> None:
    from datetime import timedelta

    from support.stored import FIRST

    published(embedded_line.backups)
    published(embedded_line.backups, FIRST + timedelta(days=1))
    embedded_line.inside("show", "2026-02").failed(64, "2026-02-03_143052", "2026-02-04_143052")
    embedded_line.inside("show", "2026-02-03").ok()


def test_settings_that_contradict_each_other_or_cannot_be_read(embedded_line: CommandLine) -> None:
    refused(embedded_line, 64, ["status"], "QDRANT_API_KEY_FILE", QDRANT_API_KEY_FILE="/nowhere")
    refused(embedded_line, 64, ["status"], "/nowhere", QDRANT_API_KEY_FILE="/nowhere", QDRANT_API_KEY=None)
    settings = embedded_line.directory / "qdrant-backup.toml"
    settings.write_text('api_key = "a"\n')
    refused(embedded_line, 64, ["config", "show"], "api_key_file")
    settings.write_text("port = \n")
    refused(embedded_line, 64, ["config", "show"], str(settings))
    settings.write_text("prot = 1\n")
    refused(embedded_line, 64, ["config", "show"], "prot")


def test_a_bug_of_ours_ends_with_70_and_asks_for_a_report(
    embedded_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("qdrant_backup.operations.listing.list_backups", break_down)
    ran = embedded_line.inside("list")
    assert ran.code == 70
    assert "ZeroDivisionError" in ran.err
    assert "report" in ran.err
