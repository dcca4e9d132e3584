"""The golden queries of a backup directory: questions with the answers they had, which drills ask again.

They lie in `.golden.json`. A query keeps its vector where it had one, so that asking again needs no embedding; and with
each answer a fingerprint of what was ranked, so that a drill can tell an answer that was edited since from a lost one.
Losing the file loses no backup; the queries have to be recorded again.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup.layout import GOLDEN
from qdrant_backup.model import BackupId, CollectionName
from qdrant_backup.storage.documents import read_document, write_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Golden", "GoldenAnswer", "GoldenFile", "GoldenQuery"]

GOLDEN_FORMAT = 1


class GoldenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A point that answered.

    Attributes:
        id: the point.
        score: what it was ranked by.
        fingerprint: digest hashes of what decided its rank, in hexadecimal: of the payload for words or a filter, of the
            vector for a vector.
    """

    id: int | str
    score: float
    fingerprint: str


class GoldenQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A question to one collection, and its best answers.

    Attributes:
        id: of what is asked; recording the same again replaces it.
        collection: the collection's name in backups.
        backup_id: the backup whose answers these are.
        recorded_at: when, UTC.
        answers: the best first.
        limit: how many answers were asked for.
        words: the question as it was typed; what is ranked by, unless there is a vector.
        like: the point whose vector this is, where it is one.
        vector: what is ranked by, as Qdrant's query takes it; null for words.
        using: the vector's name; empty for the unnamed one.
        filter: Qdrant's filter, where there is one.
    """

    id: str
    collection: CollectionName
    backup_id: BackupId
    recorded_at: datetime
    answers: tuple[GoldenAnswer, ...]
    limit: int
    words: str = ""
    like: int | str | None = None
    vector: Any = None
    using: str = ""
    filter: dict[str, Any] | None = None

    @property
    def question(self) -> str:
        """What is asked, for people."""
        return f'"{self.words}"' if self.words else f"like point {self.like}"


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """All golden queries; a value. Change it with the methods here and keep it with `GoldenFile.write`."""

    queries: tuple[GoldenQuery, ...] = ()
    format: int = GOLDEN_FORMAT

    def with_queries(self, recorded: Iterable[GoldenQuery]) -> Golden:
        """These besides the others; one of the same id is replaced."""
        known = {query.id: query for query in self.queries} | {query.id: query for query in recorded}
        return msgspec.structs.replace(self, queries=tuple(known.values()))

    def without(self, ids: frozenset[str]) -> Golden:
        """All but these."""
        return msgspec.structs.replace(self, queries=tuple(query for query in self.queries if query.id not in ids))


class GoldenFile:
    """The golden queries on disk. Reading needs no lock; read, change and write under it.

    Args:
        root: the backup directory.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / GOLDEN

    def read(self) -> Golden:
        """The queries; none when there is no file.

        Raises:
            IntegrityFailed: the file is damaged.
            Incompatible: a newer version of this tool wrote it.
            NotWritable: it cannot be read.
        """
        return read_document(
            self.path,
            Golden,
            GOLDEN_FORMAT,
            damaged=f"The golden queries {self.path} are damaged",
            advice="No backup is concerned. Move the file away, and record the questions again: `drill record`.",
        )

    def write(self, golden: Golden) -> None:
        """Replace the queries in one step.

        Raises:
            NotWritable: they cannot be written; the old ones stand.
            InsufficientSpace: no room; the old ones stand.
        """
        write_document(self.path, golden)
