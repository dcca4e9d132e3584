"""How hits are shown on a terminal: where they stand, what they are, and the passage with the words."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.console import visible
from qdrant_backup.operations.looking.reading import values_at
from qdrant_backup.operations.looking.words import texts_of, words_of

if TYPE_CHECKING:
    from qdrant_backup.cli.console import Console
    from qdrant_backup.operations.looking.search import Hit

__all__ = ["marked", "passage", "print_hit"]

_BEFORE, _WIDTH = 60, 240
_LEAST_PREFIX = 4
_HEADLINE_FIELDS = ("type", "group_id", "project", "agent", "timestamp", "created_at")
_MILLISECONDS_FROM = 1e11


def print_hit(console: Console, number: int, hit: Hit, words: str, fields: list[str]) -> None:
    """Print a hit as number `number`: with these payload fields, or else the passage in which the words stand."""
    score = "" if hit.score is None else f"  {hit.score:.4f}"
    about = "  ".join(_headline(name, hit.payload) for name in _HEADLINE_FIELDS if hit.payload.get(name) is not None)
    console.line(f"{number:>3}. {visible(hit.collection)}  {hit.id}{score}" + (f"  {about}" if about else ""))
    if fields:
        shown = [(name, values_at(hit.payload, name)) for name in fields]
        lines = [f"{name}: {', '.join(_text(value) for value in values)}" for name, values in shown if values]
    else:
        lines = [passage(hit.payload, words)]
    for line in lines:
        if line:
            console.line("     " + marked(visible(line), words, console))


def _headline(name: str, payload: dict[str, Any]) -> str:
    value = payload[name]
    if name in {"timestamp", "created_at"} and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _moment(float(value))
    return visible(_text(value))[:80]


def _moment(number: float) -> str:
    seconds = number / 1000 if number > _MILLISECONDS_FROM else number
    try:
        return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(number)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pattern(words: str) -> re.Pattern[str] | None:
    """The words, and longer ones that begin alike, as the index's stems let `fixed` answer `fixing`."""
    stems = [re.escape(word[: max(_LEAST_PREFIX, len(word) - 3)]) for word in words_of(words) if word]
    return re.compile(rf"\b(?:{'|'.join(stems)})\w*", re.IGNORECASE) if stems else None


def passage(payload: dict[str, Any], words: str, width: int = _WIDTH) -> str:
    """The part of the text in which most of the words stand; of the longest text, where none does."""
    texts = [" ".join(text.split()) for text in texts_of(payload)]
    if not texts:
        return ""
    pattern = _pattern(words)
    counts = [len(pattern.findall(text)) if pattern else 0 for text in texts]
    chosen = texts[max(range(len(texts)), key=lambda at: (counts[at], len(texts[at])))]
    found = pattern.search(chosen) if pattern else None
    begin = max(0, found.start() - _BEFORE) if found and len(chosen) > width else 0
    cut = chosen[begin : begin + width]
    return ("…" if begin else "") + cut + ("…" if begin + width < len(chosen) else "")


def marked(text: str, words: str, console: Console) -> str:
    """The text with the words made bold, where the terminal shows that."""
    pattern = _pattern(words)
    if pattern is None or not console.coloured:
        return text
    return pattern.sub(lambda found: click.style(found[0], bold=True, fg="yellow"), text)
