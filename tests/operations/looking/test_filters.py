"""The short form of filters: what it means in Qdrant's JSON, and where it stops making sense."""

from __future__ import annotations

import pytest

from qdrant_backup.errors import UsageError
from qdrant_backup.operations.looking.filters import parse_filter, parse_filters


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("type=decision", {"key": "type", "match": {"value": "decision"}}),
        ("n = 3", {"key": "n", "match": {"value": 3}}),
        ("n='3'", {"key": "n", "match": {"value": "3"}}),
        ("n=0.5", {"key": "n", "range": {"gte": 0.5, "lte": 0.5}}),
        ("ok=true", {"key": "ok", "match": {"value": True}}),
        ("a.b[].c=x", {"key": "a.b[].c", "match": {"value": "x"}}),
        ("type!=decision", {"must_not": [{"key": "type", "match": {"value": "decision"}}]}),
        ("n>2", {"key": "n", "range": {"gt": 2.0}}),
        ("n <= -2.5", {"key": "n", "range": {"lte": -2.5}}),
        ("timestamp>=2026-02-01", {"key": "timestamp", "range": {"gte": "2026-02-01"}}),
        ("t<'2026-02-01 10:30'", {"key": "t", "range": {"lt": "2026-02-01 10:30"}}),
        ("group_id in (a,b)", {"key": "group_id", "match": {"any": ["a", "b"]}}),
        ("n in (1, 2)", {"key": "n", "match": {"any": [1, 2]}}),
        ("n not in (1, x)", {"key": "n", "match": {"except": ["1", "x"]}}),
        ('content ~ "auth race"', {"key": "content", "match": {"text": "auth race"}}),
        (r'content ~ "a \"b\" c"', {"key": "content", "match": {"text": 'a "b" c'}}),
        ("content !~ race", {"must_not": [{"key": "content", "match": {"text": "race"}}]}),
        ("inside=x", {"key": "inside", "match": {"value": "x"}}),
    ],
)
def test_a_condition_means(text, condition):
    assert parse_filter(text) == {"must": [condition]}


def test_and_joins_conditions_and_several_filters_hold_together():
    a, b = {"key": "a", "match": {"value": 1}}, {"key": "b", "match": {"value": 2}}

    assert parse_filter("a=1 and b=2") == {"must": [a, b]}
    assert parse_filters(["a=1", "b=2"]) == {"must": [{"must": [a]}, {"must": [b]}]}
    assert parse_filters([]) is None


def test_qdrants_own_json_passes_as_it_is():
    assert parse_filter(' {"should": [{"key": "a", "match": {"value": 1}}]}') == {
        "should": [{"key": "a", "match": {"value": 1}}]
    }


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 1),
        ("type", 5),
        ("type=", 6),
        ("type==x", 6),
        ("=x", 1),
        ("a=1 b=2", 5),
        ("a=1 and", 8),
        ("n>abc", 3),
        ("n>=", 4),
        ("a in b", 6),
        ("a in (b", 8),
        ("a in (b,)", 9),
        ("a in ()", 7),
        ("a='never closed", 3),
        ("a=(", 3),
        ("{", 2),
        ('{"must": ]}', 10),
        ('{"musst": []}', 2),
    ],
)
def test_what_does_not_parse_is_pointed_at(text, at):
    with pytest.raises(UsageError) as refused:
        parse_filter(text)

    assert f"at character {at} " in refused.value.why or f"at character {at}," in refused.value.why, refused.value.why


@pytest.mark.parametrize("text", ["{" * 100_000, '{"must":' * 50_000, "a=" + "x" * 100_000 + " and"])
def test_long_nonsense_is_refused_all_the_same(text):
    with pytest.raises(UsageError):
        parse_filter(text)
