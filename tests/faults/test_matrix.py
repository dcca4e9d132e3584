"""The matrix is whole: every row that does not wait has a case or a test, and none that does not exist has one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from faults.matrix import ROWS, pending

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"


def named_rows(source: Path) -> Iterator[str]:
    """The rows that a file's cases and marks name by a literal."""
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = node.args[0]
        if name in {"Case", "fault"} and isinstance(first, ast.Constant):
            yield str(first.value)


def test_every_row_that_does_not_wait_is_proven() -> None:
    proven = {row for source in TESTS.rglob("test_*.py") for row in named_rows(source)}
    assert sorted(set(ROWS) - set(pending()) - proven) == []
    assert sorted(proven - set(ROWS)) == []


def test_a_row_waits_only_for_repositories_or_encryption() -> None:
    assert sorted(pending()) == ["H04", "H09"]


def test_the_matrix_has_the_seventy_one_rows_of_its_design() -> None:
    assert len(ROWS) == 71


def test_the_page_on_reliability_has_every_row_and_the_cases_of_each_promise() -> None:
    page = PAGE.read_text("utf-8")
    for row in ROWS.values():
        star, waits = "*" if row.quick else "", f" (waits: {row.pending})" if row.pending else ""
        assert f"| {row.id}{star} | {row.fault}{waits} | {' '.join(row.guarantees)} |" in page
    for promise, text in re.findall(r"^### (G\d): .*?^Cases: (.*?)\.$", page, re.MULTILINE | re.DOTALL):
        assert text.split() == [row.id for row in ROWS.values() if promise in row.guarantees and not row.pending]
    assert re.findall(r"^### (G\d): .*?^Cases: ", page, re.MULTILINE | re.DOTALL) == [f"G{n}" for n in range(1, 8)]
