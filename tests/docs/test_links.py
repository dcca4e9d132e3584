"""A link on a page leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def broken(page: Path, text: str) -> list[str]:
    targets = [target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]
    return [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    assert broken(page, page.read_text("utf-8")) == []


def test_a_link_to_nothing_is_seen():
    text = "[a](README.md) [b](docs/nothing.md) [c](https://qdrant.tech) [d](docs/nothing.md#x)"

    assert broken(ROOT / "x.md", text) == ["docs/nothing.md", "docs/nothing.md#x"]
