"""`drill` and its golden queries as they are typed: output, JSON, refusals, Ctrl-C and kills."""

from __future__ import annotations

import json
import shlex
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.storage.lock import DirectoryLock
from support.command import CommandLine, tree_of, until
from support.contracts import matches
from support.restoring import Lab, points_of
from support.servers import RunningServer

VECTOR_OF_SIZE_4 = shlex.join([sys.executable, "-c", "print([0.1, 0.2, 0.3, 0.4])"])


def drilled(line: CommandLine, *words: str, code: int = 0) -> Any:
    ran = line.inside("drill", "--json", *words)
    assert ran.code == code, ran
    matches("drill --json", ran.json)
    return ran.json


def listed(line: CommandLine) -> Any:
    [found] = line.inside("list", "--json").ok().json
    return found


def test_the_words_and_the_json_of_a_drill(line: CommandLine, lab: Lab) -> None:
    lab.make("docs", points_of(12), indexes={"group": "keyword"})
    lab.alias("talk", "docs")
    line.inside("backup").ok()
    assert listed(line)["restorable"] is None
    assert "Proven restorable: no backup yet" in line.inside("status").ok().out

    recorded = line.inside("drill", "record", "memory 3", "memory 5", "--limit", "4", "--json").ok().json
    matches("drill record --json", recorded)
    assert [len(query["answers"]) for query in recorded["queries"]] == [4, 4]
    liked = line.inside("drill", "record", "--like", "3", "--filter", "rank < 9").ok().out
    assert "like point 3" in liked
    assert stat.S_IMODE((line.backups / ".golden.json").stat().st_mode) == 0o600

    text = line.inside("drill").ok().out
    assert "✓ files" in text
    assert "✓ docs (12 points): digest, shards, open, counts, config, indexes, aliases, golden, golden-index" in text
    assert "proven restorable, in the embedded engine" in text
    found = drilled(line, "latest")
    assert (found["passed"], found["level"], found["server"]) == (True, "drill", None)
    assert listed(line)["level"] == "drill"
    assert listed(line)["restorable"]["by"] == "embedded engine"
    assert "proven restorable" in line.inside("list").ok().out

    before = {**lab.state(), "snapshots": lab.left_on_server()}
    found = drilled(line, "--server", lab.running.url)
    assert (found["passed"], found["server"]) == (True, lab.running.url)
    assert {**lab.state(), "snapshots": lab.left_on_server()} == before
    assert listed(line)["restorable"]["by"] == lab.running.url
    seen = line.inside("status", "--json").ok().json
    matches("status --json", seen)
    assert seen["proven_restorable"] == {"id": found["id"], **listed(line)["restorable"]}
    assert f"by a restore into {lab.running.url}" in line.inside("status").ok().out
    assert f"by a restore into {lab.running.url}" in line.inside("show").ok().out
    matches("show --json", line.inside("show", "--json").ok().json)
    matches("list --json", line.inside("list", "--json").ok().json)
    assert line.wrecks() == []


def test_golden_queries_are_kept_listed_and_forgotten(embedded_line: CommandLine, embedded: Lab) -> None:
    embedded.make("docs", points_of(12))
    embedded.make(
        "other", [{"id": 1, "vector": [1.0, 2.0], "payload": {}}], {"vectors": {"size": 2, "distance": "Dot"}}
    )
    embedded_line.inside("backup").ok()
    assert "No golden queries" in embedded_line.inside("drill", "list").ok().out

    ran = embedded_line.inside("drill", "record", "what", "--embed-command", VECTOR_OF_SIZE_4)
    ran.ok()
    assert "other is left out" in ran.err
    # The same again, with fewer answers: it takes the place of the first.
    again = embedded_line.inside(
        "drill", "record", "what", "--embed-command", VECTOR_OF_SIZE_4, "--limit", "3", "--json"
    )
    [query] = again.ok().json["queries"]
    assert (query["collection"], query["words"], query["by"], len(query["answers"])) == ("docs", "what", "vector", 3)
    everything = embedded_line.inside("drill", "list", "--json").ok().json
    matches("drill record --json", everything)
    assert [one["id"] for one in everything["queries"]] == [query["id"]]
    # No embedding is needed to ask it again.
    assert drilled(embedded_line)["passed"]

    gone = embedded_line.inside("drill", "forget", query["id"], "--json").ok().json
    matches("drill record --json", gone)
    assert embedded_line.inside("drill", "list", "--json").ok().json == {"queries": []}


def test_a_drill_that_fails_says_what_and_ends_with_5(embedded_line: CommandLine, embedded: Lab) -> None:
    embedded.make("docs", points_of(12))
    embedded_line.inside("backup").ok()
    [backup] = embedded_line.published()
    snapshot = backup / "qdrant" / "docs.snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:-1] + b"x")

    ran = embedded_line.inside("drill").failed(5, "docs.snapshot")
    assert "✗ files" in ran.out
    assert "not proven restorable" in ran.out
    found = drilled(embedded_line, code=5)
    assert (found["passed"], found["level"]) == (False, "damaged")
    assert listed(embedded_line)["level"] == "damaged"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("drill", "2020-01-01_000000"), 2, "2020-01-01_000000"),
        (("drill", "--collection", "nothing"), 2, "nothing"),
        (("drill", "--into-api-key-file", "x"), 64, "--server"),
        (("drill", "--server", "ftp://x"), 64, "URL"),
        (("drill", "--server", "http://127.0.0.1:1"), 1, "127.0.0.1:1"),
        (("drill", "record"), 64, "no question"),
        (("drill", "record", "x", "--like", "3"), 64, "--like"),
        (("drill", "record", "--like", "not-an-id"), 64, "not-an-id"),
        (("drill", "record", "--like", "999"), 2, "999"),
        (("drill", "record", "zzzz"), 2, "zzzz"),
        (("drill", "record", "..."), 64, "no word"),
        (("drill", "record", "x", "--filter", "type="), 64, "filter"),
        (("drill", "record", "x", "--backup", "2020"), 2, "2020"),
        (("drill", "record", "x", "--collection", "nothing"), 2, "nothing"),
        (("drill", "record", "x", "--embed-command", "false"), 2, "embedding command"),
        (("drill", "record", "x", "--embed-command", f"{sys.executable} -c 'print([1, 2])'"), 64, "2 numbers"),
        (("drill", "record", "--embed-command", "false"), 64, "no question"),
        (("drill", "record", "x", "--embed-command", "a", "--embed-url", "b"), 64, "both"),
        (("drill", "record", "x", "--vector", "nothing", "--embed-command", VECTOR_OF_SIZE_4), 64, "nothing"),
        (("drill", "forget", "00000000"), 2, "00000000"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_changed(
    one_backup: CommandLine, words: tuple[str, ...], code: int, said: str
) -> None:
    before = tree_of(one_backup.backups)

    one_backup.inside(*words).failed(code, said)

    assert tree_of(one_backup.backups) == before


@pytest.mark.parametrize(
    "words", [("drill", "latest", "another"), ("drill", "forget"), ("drill", "record", "--nothing")]
)
def test_words_that_make_no_sense_are_a_usage_error(one_backup: CommandLine, words: tuple[str, ...]) -> None:
    ran = one_backup.inside(*words)

    assert ran.code == 64, ran
    assert "drill" in ran.err


@pytest.fixture(scope="module")
def one_backup(shared_servers: Any, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A backup of one collection, and nothing of it on the server any more."""
    directory = tmp_path_factory.mktemp("one")
    server: RunningServer = shared_servers.get("embedded")
    lab = Lab(server, directory / "backups", directory / "scratch")
    lab.make("docs", points_of(12))
    line = CommandLine.at(directory, server)
    line.inside("backup").ok()
    line.inside("drill").ok()
    server.empty()
    return line


def test_a_damaged_file_of_golden_queries_is_named(embedded_line: CommandLine, embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    embedded_line.inside("backup").ok()
    (embedded_line.backups / ".golden.json").write_text("{")

    embedded_line.inside("drill").failed(5, ".golden.json")
    embedded_line.inside("drill", "record", "memory").failed(5, ".golden.json")
    assert listed(embedded_line)["level"] == "content"


def test_a_wrong_key_and_another_run_are_told_apart(embedded_line: CommandLine, embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    embedded_line.inside("backup").ok()
    key = embedded_line.directory / "key"
    key.write_text("wrong")
    url = embedded.running.url

    embedded_line.inside("drill", "--server", url, "--into-api-key-file", str(key)).failed(9, "Set QDRANT_INTO_API_KEY")
    # A server that is not the usual one does not get the usual one's key.
    elsewhere = url.replace("127.0.0.1", "localhost")
    embedded_line.inside("drill", "--server", elsewhere).failed(9, "Set QDRANT_INTO_API_KEY")
    with DirectoryLock(embedded_line.backups, embedded.clock, "backup"):
        embedded_line.inside("drill", "--server", url).failed(6)
        # One in the engine reads only; its outcome is not noted, and that is said.
        ran = embedded_line.inside("drill").ok()
    assert "could not be noted" in ran.err
    assert listed(embedded_line)["restorable"] is None


def scratch_of(lab: Lab) -> list[str]:
    names = [each["name"] for each in lab.call("GET", "/collections")["collections"]]
    return [name for name in names if name.startswith("__drill_")]


def begun(line: CommandLine) -> bool:
    """Whether an upload is written down: from then on something may be on the server."""
    for path in line.backups.glob(".drills/*.json"):
        try:
            journal = json.loads(path.read_text())["document"]
        except (OSError, ValueError):  # Replaced or removed while it was read.
            continue
        if any(target["steps"] for target in journal["targets"]):
            return True
    return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_stopped_leaves_the_server_as_it_was(line: CommandLine, lab: Lab, number: int) -> None:
    lab.make("docs", points_of(30))
    line.inside("backup").ok()
    before = {**lab.state(), "snapshots": lab.left_on_server()}
    process = line.start("drill", "--server", lab.running.url)
    until(lambda: begun(line), process)
    process.send_signal(number)
    ran = line.ended(process)

    assert ran.code == 128 + number, ran
    assert {**lab.state(), "snapshots": lab.left_on_server()} == before
    assert line.wrecks() == []
    assert listed(line)["restorable"] is None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", ["begun", "restored"])
def test_what_a_killed_drill_left_is_removed_by_the_next(line: CommandLine, lab: Lab, moment: str) -> None:
    lab.make("docs", points_of(30))
    lab.make("__drill_0123456789abcdef_1", points_of(2))
    line.inside("backup").ok()
    before = {**lab.state(), "snapshots": lab.left_on_server()}
    process = line.start("drill", "--server", lab.running.url)
    until(lambda: len(scratch_of(lab)) > 1 if moment == "restored" else begun(line), process)
    process.kill()
    line.ended(process)
    assert line.wrecks()

    ran = line.run("drill", "--server", lab.running.url).ok()

    assert "proven restorable" in ran.out
    assert {**lab.state(), "snapshots": lab.left_on_server()} == before
    assert line.wrecks() == []


def test_help_shows_the_drill_itself_and_the_commands_below_it(one_backup: CommandLine) -> None:
    text = one_backup.inside("drill", "--help").ok().out

    assert "drill [OPTIONS] [BACKUP]" in text
    assert "--server URL" in text
    for name in ("record", "list", "forget"):
        assert f"  {name} " in text
    assert one_backup.inside("drill", "latest", "--help").ok().out == text
    assert Path(one_backup.backups / ".golden.json").exists() is False
