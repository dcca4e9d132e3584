"""Filters as people type them: `type=decision and timestamp>=2026-02-01`, or Qdrant's own JSON.

    condition   FIELD = VALUE, FIELD != VALUE, FIELD > NUMBER or DATE (>=, <, <=), FIELD in (A, B), FIELD not in (A, B),
                FIELD ~ "words", FIELD !~ "words"; joined by `and`
    FIELD       letters, digits, `_`, `-`, `.` for what is inside an object, `[]` for the members of a list
    VALUE       a number, true, false, null, a word, or text in double or single quotes

Whatever does not parse is refused with the character at which it stops making sense.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from qdrant_backup.errors import UsageError

__all__ = ["parse_filter", "parse_filters"]

_SPACE = re.compile(r"\s*")
_FIELD = re.compile(r"[\w-]+(?:\[\d*\])*(?:\.[\w-]+(?:\[\d*\])*)*")
_OPERATOR = re.compile(r"!=|>=|<=|!~|=|>|<|~|not\s+in\b|in\b", re.IGNORECASE)
_AND = re.compile(r"(?:and\b|&&)", re.IGNORECASE)
_WORD = re.compile(r"[^\s,()'\"=<>!~&]+")
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")
_OPENS, _COMMA, _CLOSES = re.compile(r"\("), re.compile(","), re.compile(r"\)")
_BOUNDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Value:
    """A value, where it stands, and whether it was quoted: then it is text whatever it looks like."""

    text: str
    at: int
    quoted: bool

    @property
    def plain(self) -> str | int | float | bool | None:
        if self.quoted:
            return self.text
        if self.text.lower() in _CONSTANTS:
            return _CONSTANTS[self.text.lower()]
        if _INTEGER.fullmatch(self.text):
            return int(self.text)
        return float(self.text) if _NUMBER.fullmatch(self.text) else self.text


class _Reader:
    """Reads one filter from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def error(self, expected: str, at: int | None = None) -> UsageError:
        where = self._at if at is None else at
        marked = f"{self._text[:where]}⟨here⟩{self._text[where:]}"
        return UsageError(
            f"the filter {self._text!r} cannot be read",
            why=f"at character {where + 1} {expected}: {marked}",
            advice='Write it as `type=decision and timestamp>=2026-02-01`, `group_id in (a,b)`, `content ~ "race"`, or as Qdrant\'s JSON.',
        )

    def conditions(self) -> list[Json]:
        found = [self._condition()]
        while self._take(_AND):
            found.append(self._condition())
        self._skip()
        if self._at < len(self._text):
            raise self.error("`and` or the end is expected")
        return found

    def _skip(self) -> None:
        blank = _SPACE.match(self._text, self._at)
        self._at = blank.end() if blank else self._at

    def _take(self, pattern: re.Pattern[str]) -> str:
        self._skip()
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _need(self, pattern: re.Pattern[str], expected: str) -> str:
        found = self._take(pattern)
        if not found:
            raise self.error(expected)
        return found

    def _condition(self) -> Json:
        field = self._need(_FIELD, "the name of a field is expected")
        given = self._need(_OPERATOR, "one of = != > >= < <= ~ !~ in, not in is expected")
        operator = " ".join(given.lower().split())
        if operator in {"in", "not in"}:
            values = self._list()
            return {"key": field, "match": {"any" if operator == "in" else "except": values}}
        value = self._value()
        if operator in _BOUNDS:
            return {"key": field, "range": {_BOUNDS[operator]: self._bound(value)}}
        if operator in {"~", "!~"}:
            condition: Json = {"key": field, "match": {"text": value.text}}
        else:
            condition = _equal(field, value.plain)
        return condition if not operator.startswith("!") else {"must_not": [condition]}

    def _value(self) -> _Value:
        self._skip()
        at = self._at
        quote = self._text[at : at + 1]
        if quote in {'"', "'"} and quote:
            return _Value(self._quoted(quote), at, quoted=True)
        word = self._need(_WORD, "a value is expected")
        return _Value(word, at, quoted=False)

    def _quoted(self, quote: str) -> str:
        """Text in quotes; a backslash takes the next character as it is."""
        begun, at, kept = self._at, self._at + 1, ""
        while at < len(self._text):
            char = self._text[at]
            if char == quote:
                self._at = at + 1
                return kept
            at += char == "\\"
            kept += self._text[at : at + 1]
            at += 1
        raise self.error(f"a quote {quote} is opened and never closed", begun)

    def _bound(self, value: _Value) -> float | str:
        if not value.quoted and _NUMBER.fullmatch(value.text):
            return float(value.text)
        if _DATE.fullmatch(value.text):
            return value.text
        raise self.error("a number or a date such as 2026-02-01 is expected", value.at)

    def _list(self) -> list[str | int]:
        self._need(_OPENS, "( is expected")
        found: list[_Value] = [self._value()]
        while self._take(_COMMA):
            found.append(self._value())
        self._need(_CLOSES, ", or ) is expected")
        whole = all(isinstance(one.plain, int) and not isinstance(one.plain, bool) for one in found)
        return [int(one.text) if whole else one.text for one in found]


def _equal(field: str, value: str | float | bool | None) -> Json:  # noqa: FBT001 - a value of any kind
    if value is None:
        return {"should": [{"is_null": {"key": field}}, {"is_empty": {"key": field}}]}
    if isinstance(value, float):
        return {"key": field, "range": {"gte": value, "lte": value}}
    return {"key": field, "match": {"value": value}}


def _json(text: str) -> Json:
    try:
        found: Any = json.loads(text)
    except json.JSONDecodeError as error:
        marked = f"{text[: error.pos]}⟨here⟩{text[error.pos :]}"
        raise UsageError("the filter is no JSON", why=f"at character {error.pos + 1}, {error.msg}: {marked}") from None
    except RecursionError:
        raise UsageError("the filter is nested too deeply") from None
    unknown = sorted(set(found) - {"must", "should", "must_not", "min_should"})
    if unknown:
        raise UsageError(
            "the filter is none of Qdrant's",
            why=f"at character {text.find(json.dumps(unknown[0])) + 1} it has {unknown[0]!r}; it may have must, should, must_not and min_should",
        )
    return found


def parse_filter(text: str) -> Json:
    """One filter as Qdrant's JSON.

    Raises:
        UsageError: it makes no sense; the reason points at the character.
    """
    if text.lstrip().startswith("{"):
        return _json(text)
    return {"must": _Reader(text).conditions()}


def parse_filters(texts: tuple[str, ...] | list[str]) -> Json | None:
    """All of several filters at once; None for none. Raises as `parse_filter`."""
    found = [parse_filter(text) for text in texts]
    if len(found) > 1:
        return {"must": found}
    return found[0] if found else None
