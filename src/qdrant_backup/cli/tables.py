"""Plain tables: columns as wide as their texts, nothing that a pipe could not carry."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from qdrant_backup.cli.console import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["table"]

_WIDE = frozenset({"W", "F"})


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in _WIDE else 1 for char in text
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """The lines of a table, two spaces in; the columns in `right` are aligned to the right."""
    texts = [[visible(cell) for cell in row] for row in [head, *rows]]
    widths = [max(_width(row[column]) for row in texts) for column in range(len(head))]

    def cell(column: int, text: str) -> str:
        padding = " " * (widths[column] - _width(text))
        return padding + text if column in right else text + padding

    return [("  " + "  ".join(cell(column, text) for column, text in enumerate(row))).rstrip() for row in texts]
