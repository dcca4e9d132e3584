"""The installation's `.env`, read as Docker Compose and a shell read it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Statement", "parse_env", "statements"]

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=[ \t]*(.*)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_COMMENT = re.compile(r"(?:^|\s)#.*")


class Statement(NamedTuple):
    """One statement of the file: an assignment over its lines, or a line that assigns nothing (`name` is empty)."""

    name: str
    value: str
    raw: str


def statements(text: str) -> Iterator[Statement]:
    r"""All statements in order; their `raw` texts joined by line ends are the whole file (with Unix line ends).

    Understood: comments, blank lines, `export`, single quotes (literal, over several lines), double quotes (with `\n`,
    `\"`, `\\`, `\$`), comments behind unquoted values, a byte order mark, Windows line ends. Variables in values are not
    replaced. A quote that nothing closes is a character like any other.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        match = _ASSIGNMENT.fullmatch(lines[at])
        if match is None:
            yield Statement("", "", lines[at])
            at += 1
            continue
        value, used = _value(match[2], lines[at + 1 :] if match[2][:1] in {'"', "'"} else [])
        yield Statement(match[1], value, "\n".join(lines[at : at + 1 + used]))
        at += 1 + used


def parse_env(text: str) -> dict[str, str]:
    """The values of a `.env` file; a later line beats an earlier one. See `statements` for what is understood."""
    return {statement.name: statement.value for statement in statements(text) if statement.name}


def _value(raw: str, more: list[str]) -> tuple[str, int]:
    """The value, and how many of the lines after the first it took."""
    quote = raw[:1]
    if quote not in {'"', "'"}:
        return _COMMENT.sub("", raw).strip(), 0
    for used, line in enumerate([raw[1:], *more]):
        end = _closing(line, quote)
        if end is None:
            continue
        inner = "\n".join([*[raw[1:], *more][:used], line[:end]])
        return (inner if quote == "'" else re.sub(r"\\(.)", _unescaped, inner)), used
    return _COMMENT.sub("", raw).strip(), 0


def _unescaped(escape: re.Match[str]) -> str:
    return _ESCAPES.get(escape[1], escape[0])


def _closing(text: str, quote: str) -> int | None:
    """Where the closing quote stands; None when the value goes on in the next line."""
    at = 0
    while at < len(text):
        if text[at] == "\\" and quote == '"':
            at += 2
            continue
        if text[at] == quote:
            return at
        at += 1
    return None
