"""`history --query`: who answered then, who answers now, and what became of the others. On both servers."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from qdrant_backup.errors import CollectionMissing, OperationFailed, UsageError
from qdrant_backup.operations.looking import answers as asking
from qdrant_backup.operations.looking.answers import Answers, answers
from qdrant_backup.operations.looking.search import Question
from support.command import CommandLine
from support.contracts import matches
from support.restoring import Lab, path_of, plain_config

NAME = "discussions"
TEXTS = {
    1: "We fixed the auth race: the auth race was a lock",
    2: "The auth service is slow on Mondays, and nobody knows why that is so",
    3: "Deploying on Friday is fine",
}


def point(number: int, text: str, vector: list[float] | None = None) -> dict[str, Any]:
    return {"id": number, "vector": vector or [number, 1, 0, 0], "payload": {"content": text}}


def filled(lab: Lab) -> None:
    lab.make(NAME, [point(number, text) for number, text in TEXTS.items()])
    lab.make("conventions", [point(7, "Name a lock after what it guards")])


def forget(lab: Lab, *ids: int) -> None:
    lab.call("POST", path_of(NAME, "points/delete?wait=true"), {"points": list(ids)})


def told_of(told: Answers) -> list[tuple[str, str, Any, int | None, int | None]]:
    return [(event.moment.name, event.what, event.hit.id, event.before, event.after) for event in told.events]


def test_answers_enter_move_change_and_go_each_at_its_date(lab: Lab, tmp_path: Path) -> None:
    line = CommandLine.at(tmp_path, lab.running)
    filled(lab)
    first = lab.back_up()
    lab.back_up()
    forget(lab, 1)
    lab.put(NAME, [point(2, TEXTS[2] + "; an auth race?"), point(4, "auth race")])
    third = lab.back_up()
    forget(lab, 4)

    words = ("history", "--query", "auth race", "--limit", "2")
    told = line.inside(*words, "--json").ok().json
    matches("history --query --json", told)
    assert [(each["backup"], each["event"], each["id"], each["changes"]["rank"]) for each in told] == [
        (first.backup_id, "entered", 1, {"after": 1}),
        (first.backup_id, "entered", 2, {"after": 2}),
        (third.backup_id, "entered", 4, {"after": 1}),
        (third.backup_id, "changed", 2, {}),
        (third.backup_id, "gone", 1, {"before": 1}),
    ]
    assert told[3]["changes"]["fields"]["content"]["after"].endswith("an auth race?")

    live = line.inside(*words, "--live", "--json").ok().json
    assert live[:-2] == told
    assert [(each["backup"], each["event"], each["id"], each["changes"]["rank"]) for each in live[-2:]] == [
        ("live", "moved", 2, {"before": 2, "after": 1}),
        ("live", "gone", 4, {"before": 1}),
    ]

    text = line.inside(*words, "--live").ok().out
    assert f"{first.finished_at:%Y-%m-%d %H:%M:%S}  ({first.backup_id})" in text
    assert "1→" not in text
    assert "2→  1.  discussions  2  The auth service" in text
    assert "+   1.  discussions  1  We fixed the auth race" in text
    assert "-   1.  discussions  1  gone: We fixed the auth race" in text
    assert "2.  discussions  2  changed: The auth service" in text
    assert text.splitlines()[-2:] == [
        "  The server answers:",
        f"        1.  discussions  2  {TEXTS[2]}; an auth race?",
    ]


def test_an_answer_that_others_displaced_is_still_there(lab: Lab) -> None:
    filled(lab)
    lab.back_up()
    lab.put(NAME, [point(9, "auth race auth race")])
    second = lab.back_up()

    told = answers(lab.ports, Question(words="auth race", limit=1))

    assert told_of(told)[1:] == [(second.backup_id, "entered", 9, None, 1), (second.backup_id, "left", 1, 1, None)]
    assert [hit.id for hit in told.now] == [9]


def test_what_two_backups_share_is_searched_once(embedded: Lab) -> None:
    filled(embedded)
    backups = [embedded.back_up() for _ in range(3)]
    embedded.put(NAME, [point(4, "another lock")])
    backups.append(embedded.back_up())

    with mock.patch.object(asking, "open_backups", wraps=asking.open_backups) as opened:
        told = answers(embedded.ports, Question(words="lock"))

    assert [call.args[1] for call in opened.call_args_list] == [
        [(backups[0], ["conventions", NAME])],
        [(backups[3], [NAME])],
    ]
    assert [moment.name for moment in told.moments] == [backup.backup_id for backup in backups]
    assert [what for _, what, *_ in told_of(told)].count("entered") == 3


def test_vectors_answer_as_the_server_does_and_the_server_answers_last(lab: Lab, tmp_path: Path) -> None:
    line = CommandLine.at(tmp_path, lab.running)
    lab.make(
        NAME, [point(1, "a", [1, 0, 0, 0]), point(2, "b", [0, 1, 0, 0])], {"vectors": {"size": 4, "distance": "Euclid"}}
    )
    lab.back_up()
    lab.put(NAME, [point(2, "b", [1, 0.1, 0, 0]), point(3, "c", [1, 0.01, 0, 0])])
    command = shlex.join([sys.executable, "-c", "print([1, 0, 0, 0])"])

    told = line.inside("history", "--query", "x", "--embed-command", command, "--live", "--json").ok().json

    assert [(each["event"], each["id"], each["changes"]["rank"]) for each in told] == [
        ("entered", 1, {"after": 1}),
        ("entered", 2, {"after": 2}),
        ("entered", 3, {"after": 2}),
        ("moved", 2, {"before": 2, "after": 3}),
    ]


def test_a_backup_of_another_model_is_left_out_and_said(embedded: Lab) -> None:
    embedded.make(NAME, [point(1, "a")])
    embedded.back_up()
    embedded.delete(NAME)
    embedded.make(NAME, [{"id": 1, "vector": [1, 2], "payload": {}}], plain_config(2))
    second = embedded.back_up()

    told = answers(embedded.ports, Question(vector=[1.0, 0.0]))

    assert [moment.name for moment in told.moments] == [second.backup_id]
    assert "is left out" in embedded.told.warnings
    with pytest.raises(UsageError, match="does not fit"):
        answers(embedded.ports, Question(vector=[1.0, 0.0, 0.0]))


def test_a_backup_that_has_not_the_collection_says_nothing_of_it(embedded: Lab) -> None:
    filled(embedded)
    embedded.back_up()
    embedded.back_up("conventions")

    told = answers(embedded.ports, Question(words="auth"))

    assert [what for _, what, *_ in told_of(told)] == ["entered", "entered"]
    assert [hit.id for hit in told.now] == [1, 2]


def test_what_makes_no_sense_is_refused(embedded: Lab, tmp_path: Path) -> None:
    line = CommandLine.at(tmp_path, embedded.running)
    with pytest.raises(OperationFailed, match="no backup"):
        answers(embedded.ports, Question(words="auth"))
    embedded.make(NAME, [point(1, "a")])
    embedded.back_up()

    with pytest.raises(CollectionMissing):
        answers(embedded.ports, Question(words="auth"), ["nowhere"])
    line.inside("history").failed(64, "neither a point nor a question")
    line.inside("history", "1", "--query", "x").failed(64, "both a point and a question")
    line.inside("history", "1", "--live").failed(64, "without a question")
    line.inside("history", "--query", "?!").failed(64, "no word")
    line.inside("history", "--query", "x", "--filter", "type==").failed(64, "at character 6")
    line.inside("history", "--query", "x", "--live", env={"QDRANT_PORT": "1"}).failed(1, "connection refused")
    assert "Nothing found" in line.inside("history", "--query", "zebra").ok().out
