"""The index of words: what it finds, and what it leaves out so that a question of common words stays cheap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.errors import NotWritable, UsageError
from qdrant_backup.model import NO_PROGRESS
from qdrant_backup.operations.looking import words
from qdrant_backup.operations.looking.words import word_index

TEXTS = [
    "We fixed the auth race",
    "The cache races with its writer",
    "Nothing to see here, the end",
    "Räte entscheiden über die Straße",
]


@dataclasses.dataclass
class Pages:
    """A server that has only these texts."""

    texts: list[str]

    def scroll(self, name: str, *, limit: int) -> Iterator[list[dict[str, Any]]]:
        points = [{"id": number, "payload": {"deep": [{"text": text}]}} for number, text in enumerate(self.texts)]
        for at in range(0, len(points), limit):
            yield points[at : at + limit]


@dataclasses.dataclass
class Place:
    directory: Path
    name: str = "discussions"


def found(place: Place, question: str, texts: list[str] = TEXTS, limit: int | None = None) -> list[Any]:
    server: Any = Pages(texts)
    collection: Any = place
    index = word_index(server, collection, NO_PROGRESS)
    try:
        return [identity for identity, _ in index.ranked(question, limit)]
    finally:
        index.close()


@pytest.mark.parametrize(
    ("question", "ids"),
    [
        ("auth race", [0, 1]),
        ("FIXING an Auth-Race?!", [0, 1]),
        ("rate strasse", [3]),
        ('"auth" OR NEAR(race', [0, 1]),
        ("nowhere", []),
        ("* ^ auth", [0]),
    ],
)
def test_a_question_is_its_words_and_nothing_of_it_is_a_command(tmp_path: Path, question: str, ids: list[int]):
    assert found(Place(tmp_path), question) == ids


def test_a_question_without_a_word_is_refused(tmp_path: Path):
    with pytest.raises(UsageError):
        found(Place(tmp_path), "?!")


def test_words_that_most_points_have_are_left_out_where_points_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    texts = [f"memory of number{number} and what was decided" for number in range(200)]
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()

    assert len(found(Place(tmp_path / "few"), "the memory of number17", texts)) == 200
    monkeypatch.setattr(words, "_FEW_POINTS", 100)
    assert found(Place(tmp_path / "many"), "the memories of number17", texts) == [17]
    assert len(found(Place(tmp_path / "many"), "memory decides", texts, limit=5)) == 5


def test_an_index_that_was_not_finished_is_not_used(tmp_path: Path):
    class Failing(Pages):
        def scroll(self, name: str, *, limit: int) -> Iterator[list[dict[str, Any]]]:
            yield [{"id": 0, "payload": {"text": "auth"}}]
            raise NotWritable("cut")

    server: Any = Failing([])
    place: Any = Place(tmp_path)
    with pytest.raises(NotWritable):
        word_index(server, place, NO_PROGRESS)

    assert list(tmp_path.iterdir()) == []
    assert found(Place(tmp_path), "race") == [0, 1]
