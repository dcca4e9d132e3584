"""What a payload field's values are, and numbers that JSON has no name for."""

from __future__ import annotations

import pytest

from qdrant_backup.errors import UsageError
from qdrant_backup.operations.looking.reading import _finite, values_at
from qdrant_backup.operations.looking.search import point_id
from qdrant_backup.operations.looking.words import texts_of, words_of


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("type", ["decision"]),
        ("meta.kind", ["x"]),
        ("tags", ["a", "b"]),
        ("tags[]", ["a", "b"]),
        ("items[].n", [1, 2]),
        ("items.n", [1, 2]),
        ("items", [3]),
        ("none", []),
        ("type.inside", []),
        ("empty", [None]),
    ],
)
def test_a_path_leads_to_plain_values(path, values):
    payload = {
        "type": "decision",
        "meta": {"kind": "x"},
        "tags": ["a", "b"],
        "items": [{"n": 1}, {"n": 2}, 3],
        "empty": None,
    }

    assert values_at(payload, path) == values


def test_a_number_that_is_none_gets_its_name_wherever_it_stands():
    assert _finite([1.0, None]) == [1.0, "NaN"]
    assert _finite({"a": [[None, 2.0]], "b": {"indices": [1], "values": [None]}}) == {
        "a": [["NaN", 2.0]],
        "b": {"indices": [1], "values": ["NaN"]},
    }
    assert _finite([0.5]) == [0.5]
    assert _finite(None) is None


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("0", 0),
        ("18446744073709551615", 18446744073709551615),
        ("936DA01F9ABD4d9d80C702AF85C822A8", "936da01f-9abd-4d9d-80c7-02af85c822a8"),
    ],
)
def test_an_id_is_a_number_or_a_uuid(text, identity):
    assert point_id(text) == identity


@pytest.mark.parametrize("text", ["", "-1", "18446744073709551616", "x", "1.0", "\u0663"])
def test_what_is_no_id_is_refused(text):
    with pytest.raises(UsageError):
        point_id(text)


def test_texts_are_found_however_deep_and_in_their_order():
    assert list(texts_of({"a": "one", "b": [{"c": "two"}, 3, None], "d": {"e": "three"}})) == ["one", "two", "three"]


def test_words_are_those_of_any_language_each_once():
    assert words_of("Die Räte, die RÄTE! auth-race 東京") == ["die", "räte", "auth", "race", "東京"]
