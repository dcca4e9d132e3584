"""Searching payloads by words: BM25 over everything in them that is text, by SQLite's full-text index.

The index of a collection is made when it is first asked for, lies beside the opened collection, and stays. It is made
under another name and renamed, so one that is there is whole; it knows no point that the collection has not, since
what was opened never changes.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from typing import TYPE_CHECKING, Any, cast

from qdrant_backup.errors import InsufficientSpace, NotWritable, UsageError
from qdrant_backup.operations.ahead import one_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qdrant_backup.model import Progress
    from qdrant_backup.operations.looking.opening import OpenedCollection
    from qdrant_backup.qdrant.server import Server

__all__ = ["WordIndex", "texts_of", "word_index", "words_of"]

PointId = int | str

_FILE = "words-1.sqlite"
"""The number changes with what stands in it."""

_PAGE_POINTS = 500
_FEW_POINTS = 10_000
_WORD = re.compile(r"\w+")
_TOKENS = 'tokenize="porter unicode61 remove_diacritics 2"'
_TABLES = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE points (number INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5(text, content='', {_TOKENS});
"""
_COUNTING = f"""
CREATE VIRTUAL TABLE temp.asked USING fts5(text, {_TOKENS});
CREATE VIRTUAL TABLE temp.asked_terms USING fts5vocab(temp, asked, row);
CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, row);
"""


def texts_of(payload: Any) -> Iterator[str]:
    """Every text in a payload, however deep, without the fields' names."""
    stack: list[Any] = [payload]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(reversed(list(cast("dict[str, Any]", value).values())))
        elif isinstance(value, list):
            stack.extend(reversed(cast("list[Any]", value)))


def words_of(text: str) -> list[str]:
    """The words of a question, each once."""
    return list(dict.fromkeys(word.lower() for word in _WORD.findall(text)))


class WordIndex:
    """A collection's word index, open for reading. Close it."""

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        self._base.executescript(_COUNTING)

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def ranked(self, question: str, limit: int | None = None) -> Iterator[tuple[PointId, float]]:
        """The points in which a word of the question occurs and their BM25 scores, the best first.

        Args:
            question: any text; of its words alone, in any order, a rarer one counting more.
            limit: how many; all when left out.

        Raises:
            UsageError: there is no word in it.
        """
        words = words_of(question)
        if not words:
            raise UsageError(
                f"there is no word in {question!r}", why="a word has letters or digits, and only words are ranked"
            )
        asked = " OR ".join(f'"{word}"' for word in self._telling(words))
        rows = self._base.execute(
            "SELECT points.id, found.score FROM (SELECT rowid AS number, rank AS score FROM words WHERE words MATCH ?"
            " ORDER BY rank LIMIT ?) AS found JOIN points ON points.number = found.number ORDER BY found.score, found.number",
            (asked, -1 if limit is None else limit),
        )
        for identity, score in rows:
            yield json.loads(identity), -score

    def _telling(self, words: list[str]) -> list[str]:
        """The words that tell points apart: BM25 gives one that more than half of them have no weight, and it costs most."""
        (points,) = self._base.execute("SELECT coalesce(max(number) + 1, 0) FROM points").fetchone()
        if points < _FEW_POINTS:
            return words
        counts = {word: self._points_with(word) for word in words}
        found = {word: count for word, count in counts.items() if count}
        telling = [word for word, count in found.items() if count * 2 <= points]
        return telling or sorted(found, key=lambda word: found[word])[:1] or words

    def _points_with(self, word: str) -> int:
        """How many points have a word, in any of the forms that the index takes for it."""
        self._base.execute("DELETE FROM temp.asked")
        self._base.execute("INSERT INTO temp.asked VALUES (?)", (word,))
        terms = [term for (term,) in self._base.execute("SELECT term FROM temp.asked_terms").fetchall()]
        counted = [
            self._base.execute("SELECT doc FROM temp.terms WHERE term = ?", (term,)).fetchone() for term in terms
        ]
        return min((row[0] if row else 0 for row in counted), default=0)


def word_index(server: Server, collection: OpenedCollection, progress: Progress) -> WordIndex:
    """The index of an opened collection, made first where there is none.

    Raises:
        InsufficientSpace, NotWritable: there is no writing it.
    """
    path = collection.directory / _FILE
    if not path.is_file():
        try:
            _build(server, collection, path, progress)
        except (sqlite3.Error, OSError) as error:
            full = "full" in str(error).lower() or "space" in str(error).lower()
            kind = InsufficientSpace if full else NotWritable
            raise kind(f"The word index of {collection.name!r} cannot be made", why=str(error)) from error
    return WordIndex(path)


def _build(server: Server, collection: OpenedCollection, path: Path, progress: Progress) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    progress.begin(f"Indexing the words of {collection.name}", None)
    try:
        with contextlib.closing(sqlite3.connect(new)) as base:
            base.executescript(_TABLES)
            number = 0
            # Reading and indexing take about as long.
            for page in one_ahead(server.scroll(collection.name, limit=_PAGE_POINTS), "reading of points"):
                rows = [(number + at, point) for at, point in enumerate(page)]
                base.executemany("INSERT INTO points VALUES (?, ?)", [(at, json.dumps(one["id"])) for at, one in rows])
                texts = [(at, "\n".join(texts_of(one.get("payload")))) for at, one in rows]
                base.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", texts)
                number += len(page)
                progress.advance(sum(len(text) for _, text in texts))
            base.commit()
        new.rename(path)
    finally:
        progress.end()
        new.unlink(missing_ok=True)
