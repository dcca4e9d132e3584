"""`search`, `points`, `facet` and `serve`: their output, their JSON, their refusals. On a backup that the guide's scripts made."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
import urllib.request
from typing import Any

import pytest

from qdrant_backup.cli.hits import marked, passage
from support.command import CommandLine, tree_of
from support.contracts import matches
from support.original_backup import OriginalBackup, unpack_original_backup

VECTOR_OF_SIZE_4 = [sys.executable, "-c", "print([0.1, 0.2, 0.3, 0.4])"]


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> OriginalBackup:
    return unpack_original_backup(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def line(backup: OriginalBackup, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """All of this module's tests share what was opened: that is what a cache is for."""
    return CommandLine(tmp_path_factory.mktemp("line"), {"AI_MEMORY_BACKUP_DIR": str(backup.backups_dir)})


@pytest.fixture(scope="module")
def some_point(line: CommandLine) -> dict[str, object]:
    first = line.inside("points", "--collection", "discussions").ok().out.splitlines()[0]
    return json.loads(first)


def test_search_finds_words_and_says_where(line: CommandLine, backup: OriginalBackup):
    before = tree_of(backup.backups_dir)
    found = (
        line.inside("search", "latest", "auth race", "--collection", "discussions", "--limit", "3", "--json").ok().json
    )
    text = line.inside("search", "auth race", "--collection", "discussions", "--limit", "3").ok().out

    matches("search --json", found)
    assert len(found["hits"]) == 3
    assert {hit["collection"] for hit in found["hits"]} == {"discussions"}
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)
    for number, hit in enumerate(found["hits"], 1):
        assert f"{number}. discussions  {hit['id']}" in text
        assert re.search(r"\b(auth|race)", json.dumps(hit["payload"]))
    assert "\x1b" not in text
    assert tree_of(backup.backups_dir) == before


def test_search_shows_the_fields_that_were_asked_for(line: CommandLine):
    words = ("search", "--filter", "type=decision", "--fields", "type,nothing", "--limit", "2")
    found = line.inside(*words, "--json").ok().json

    assert [hit["payload"] for hit in found["hits"]] == [{"type": "decision"}] * 2
    assert {hit["score"] for hit in found["hits"]} == {None}
    matches("search --json", found)
    assert line.inside(*words).ok().out.count("type: decision") == 2


def test_search_by_likeness_and_by_a_command_that_embeds(line: CommandLine, some_point: dict[str, object]):
    like = line.inside("search", "--like", str(some_point["id"]), "--collection", "discussions", "--json").ok().json
    vector: Any = some_point["vector"]
    size = len(vector[""])
    command = shlex.join([sys.executable, "-c", f"print([0.5] * {size})"])
    embedded = ("search", "latest", "auth race", "--collection", "discussions", "--embed-command", command, "--json")

    assert len(like["hits"]) == 10
    assert some_point["id"] not in [hit["id"] for hit in like["hits"]]
    by_vector = line.inside(*embedded).ok().json
    fused = line.inside(*embedded, "--hybrid").ok().json
    assert len(by_vector["hits"]) == len(fused["hits"]) == 10
    assert all(0 < hit["score"] <= 2 / 61 for hit in fused["hits"])


def test_points_are_lines_of_json(line: CommandLine, backup: OriginalBackup, some_point: dict[str, object]):
    lines = line.inside("points", "latest", "--collection", "conventions", "--json").ok().out.splitlines()
    points = [json.loads(one) for one in lines]
    identity = str(some_point["id"])
    only = line.inside("points", "--collection", "discussions", "--ids", identity).ok().out

    for point in points:
        matches("points --json", point)
    assert {str(point["id"]) for point in points} == set(backup.expected_points["conventions"])
    assert json.loads(only) == some_point
    filtered = line.inside("points", "--collection", "conventions", "--filter", "type=decision").ok().out.splitlines()
    assert len(filtered) == sum(point["payload"]["type"] == "decision" for point in points) > 0


def test_values_are_counted(line: CommandLine):
    found = line.inside("facet", "latest", "type", "--json").ok().json
    text = line.inside("facet", "type", "--collection", "conventions").ok().out

    matches("facet --json", found)
    assert sum(one["count"] for one in found["collections"]["conventions"]) == 15
    assert text.splitlines()[0].strip() == "conventions"
    assert "discussions" not in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["search"], 64, ["nothing to search for"]),
        (["search", "2020-01-01_000000", "x"], 2, ["2020-01-01_000000"]),
        (["search", "latest~7", "x"], 2, ["latest~0"]),
        (["search", "--as-of", "2000-01-01", "x"], 2, ["from before 2000-01-01 23:59:59"]),
        (["search", "--as-of", "yesterday", "x"], 64, ["'yesterday' is no time"]),
        (["search", "latest", "x", "--collection", "nothing"], 2, ["'nothing'", "discussions"]),
        (["search", "latest", "x", "--filter", "type=="], 64, ["at character 6"]),
        (["search", "--filter", '{"must": [{"key": 1}]}'], 64, []),
        (["search", "--like", "not-an-id"], 64, ["a number", "UUID"]),
        (["search", "--like", "123456789"], 2, ["no point 123456789"]),
        (["search", "latest", "x", "--hybrid"], 64, ["nothing to fuse"]),
        (["search", "latest", "x", "--embed-command", shlex.join(VECTOR_OF_SIZE_4)], 64, ["4 numbers", "another"]),
        (["search", "latest", "x", "--embed-command", "false"], 2, ["code 1"]),
        (["search", "latest", "x", "--embed-command", "a", "--embed-url", "b"], 64, ["both"]),
        (["search", "latest", "?!"], 64, ["no word"]),
        (["points"], 64, ["--collection"]),
        (["points", "--collection", "discussions", "--ids", "5,x"], 64, ["'x'"]),
        (["points", "--collection", "discussions", "--ids", "987654321"], 2, ["no point 987654321"]),
        (["facet", "no_such_field"], 2, ["no_such_field"]),
        (["serve", "--no-api-key", "--api-key-file", "x"], 64, []),
        (["serve", "--api-key-file", "/no/such/file"], 64, ["/no/such/file"]),
        (["serve", "nothing"], 2, ["nothing"]),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else str(value),
)
def test_what_makes_no_sense_is_refused_with_a_reason(line: CommandLine, words: list[str], code: int, said: list[str]):
    line.inside(*words).failed(code, *said)


def test_a_backup_is_named_by_time_and_by_distance(line: CommandLine, backup: OriginalBackup):
    day = backup.backup_dir.name[:10]

    for words in (["--as-of", day], ["latest~0"], [day]):
        assert line.inside("facet", *words, "type", "--json").ok().json["field"] == "type"


def test_serve_serves_until_ctrl_c(line: CommandLine):
    key = line.directory / "key"
    key.write_text("a-readers-key\n")
    process = line.start("serve", "--collection", "jira-data", "--port", "0", "--api-key-file", key)
    said: list[str] = []
    while not (said and "Serving at" in said[-1]):
        said.append(process.stdout.readline())
        assert said[-1], process.stderr.read()
    url = re.search(r"http://\S+?(?=,)", said[-1])
    assert url is not None
    request = urllib.request.Request(f"{url[0]}/collections", headers={"api-key": "a-readers-key"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        names = [one["name"] for one in json.loads(answer.read())["result"]["collections"]]
    process.send_signal(signal.SIGINT)
    ran = line.ended(process)

    assert names == ["jira-data"]
    assert ran.code == 0, ran
    assert "a-readers-key" not in "".join(said) + ran.out + ran.err
    assert "Traceback" not in ran.err


def test_a_key_is_made_and_shown_where_none_is_set(line: CommandLine):
    process = line.start("serve", "--collection", "jira-data", "--port", "0")
    said: list[str] = []
    while not (said and "Serving at" in said[-1]):
        said.append(process.stdout.readline())
        assert said[-1], process.stderr.read()
    process.terminate()
    ran = line.ended(process)

    assert re.search(r"API key: \S{20,}", "".join(said))
    assert ran.code == 0, ran


class Terminal:
    coloured = True


def test_words_are_marked_on_a_terminal_as_far_as_their_stems_go():
    console: object = Terminal()

    shown = marked("We fixed the auth race, twice racing", "fix auth races", console)  # pyright: ignore[reportArgumentType]

    assert shown.count("\x1b[") == 3 * 3, shown
    assert "\x1b[33m\x1b[1mauth\x1b[0m" in shown


def test_the_passage_shown_is_the_one_with_the_words():
    payload = {"a": "nothing of it " * 40, "b": {"c": "x " * 300 + "the auth race " + "y " * 300}}

    found = passage(payload, "auth race")

    assert "the auth race" in found
    assert found.startswith("…")
    assert found.endswith("…")
    assert len(found) <= 242
