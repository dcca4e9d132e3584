"""How a changed payload field is shown: short values on one line, long texts as the lines that differ."""

from __future__ import annotations

import difflib
import json
import textwrap
from typing import TYPE_CHECKING, Any

from qdrant_backup.cli.console import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["field_lines", "shown_value", "side_of"]

_WIDTH = 90
_LONG = 60


def field_lines(field: str, change: Mapping[str, Any]) -> Iterator[str]:
    """A field's change, given as {before, after}; what is missing on a side has no such key."""
    old, new = change.get("before"), change.get("after")
    if isinstance(old, str) and isinstance(new, str) and max(len(old), len(new)) > _LONG:
        yield f"{visible(field)}:"
        for line in _text_diff(old, new):
            yield f"  {visible(line)}"
        return
    yield f"{visible(field)}: {side_of(change, 'before')} → {side_of(change, 'after')}"


def _text_diff(old: str, new: str) -> Iterator[str]:
    """The lines that differ, long ones wrapped so that one changed word does not show a whole page twice."""
    before, after = (
        [line for part in text.splitlines() for line in textwrap.wrap(part, _WIDTH) or [""]] for text in (old, new)
    )
    for line in list(difflib.unified_diff(before, after, n=1, lineterm=""))[2:]:
        if not line.startswith("@@"):
            yield f"{line[0]} {line[1:]}"


def side_of(change: Mapping[str, Any], side: str) -> str:
    """One side's value, or that there is none."""
    return shown_value(change[side]) if side in change else "absent"


def shown_value(value: Any) -> str:
    """A value as JSON."""
    return "absent" if value is None else visible(json.dumps(value, ensure_ascii=False))
