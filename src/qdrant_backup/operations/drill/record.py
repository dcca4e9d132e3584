"""Golden queries: recorded from a backup's answers, listed, and forgotten."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.errors import OperationFailed, UsageError
from qdrant_backup.operations.drill.golden import answers, fingerprints, vector_of
from qdrant_backup.operations.events import Note
from qdrant_backup.operations.looking.opening import Searchable
from qdrant_backup.operations.looking.search import Question, require_fit, vector_name
from qdrant_backup.storage.golden import GoldenAnswer, GoldenFile, GoldenQuery
from qdrant_backup.storage.lock import DirectoryLock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qdrant_backup.operations.looking.opening import OpenedBackups, OpenedCollection
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.golden import Golden

__all__ = ["Asked", "forget", "record", "recorded"]

_ID_DIGITS = 8


@dataclasses.dataclass(frozen=True)
class Asked:
    """One question to be recorded.

    Attributes:
        words: what is ranked by, unless there is a vector; then it is only remembered.
        vector: the words' embedding.
        like: a point whose vector is asked by.
        condition: Qdrant's filter.
        using: the vector's name, where a collection has several.
        limit: how many answers are kept.
    """

    words: str = ""
    vector: list[float] | None = None
    like: int | str | None = None
    condition: Mapping[str, Any] | None = None
    using: str | None = None
    limit: int = 10


def record(opened: OpenedBackups, asked: Sequence[Asked], ports: Ports) -> tuple[GoldenQuery, ...]:
    """Ask the opened collections of one backup, and keep each question with its answers for later drills.

    A question is kept for each collection that answers it; one that was recorded before is replaced.

    Raises:
        OperationFailed: no collection answers a question; nothing was recorded.
        UsageError: a filter is refused, or a vector does not fit the only collection.
        Locked: another run is at work.
    """
    found: list[GoldenQuery] = []
    for question in asked:
        queries = [query for one in opened.collections if (query := _recorded(opened, one, question, ports))]
        if not queries:
            names = ", ".join(one.name for one in opened.collections)
            raise OperationFailed(
                f"nothing answers {_shown(question)}",
                why=f"no point of {names or 'no collection'} does",
                advice="Nothing was recorded. `qdrant-backup search` shows what a question finds.",
            )
        found += queries
    with DirectoryLock(ports.directory.root, ports.clock, "drill record"):
        file = GoldenFile(ports.directory.root)
        file.write(file.read().with_queries(found))
    return tuple(found)


def recorded(ports: Ports) -> Golden:
    """All golden queries; raises as `GoldenFile.read`."""
    return GoldenFile(ports.directory.root).read()


def forget(ports: Ports, ids: Sequence[str]) -> tuple[GoldenQuery, ...]:
    """Delete golden queries by their ids.

    Raises:
        OperationFailed: there is none of that id; none was deleted.
        Locked: another run is at work.
    """
    file = GoldenFile(ports.directory.root)
    with DirectoryLock(ports.directory.root, ports.clock, "drill forget"):
        golden = file.read()
        known = {query.id: query for query in golden.queries}
        for one in ids:
            if one not in known:
                raise OperationFailed(
                    f"there is no golden query {one!r}",
                    why=f"recorded are {', '.join(known) or 'none'}",
                    advice="`qdrant-backup drill list` shows them.",
                )
        file.write(golden.without(frozenset(ids)))
    return tuple(known[one] for one in dict.fromkeys(ids))


def _shown(asked: Asked) -> str:
    return repr(asked.words) if asked.words else f"the likeness to point {asked.like}"


def _recorded(opened: OpenedBackups, collection: OpenedCollection, asked: Asked, ports: Ports) -> GoldenQuery | None:
    try:
        query = _query(opened, collection, asked, ports)
    except UsageError as error:
        if len(opened.collections) == 1 or (asked.vector is None and asked.like is None):
            raise
        ports.tell(Note(f"{collection.name} is left out: {error}"))
        return None
    if query is None:
        return None
    now = answers(opened.server, collection, query, ports.progress, limit=asked.limit)
    prints = fingerprints(opened.server, collection.name, query, (answer.id for answer in now))
    kept = tuple(GoldenAnswer(id=one.id, score=one.score, fingerprint=prints[one.id]) for one in now)
    return msgspec.structs.replace(query, answers=kept) if kept else None


def _query(opened: OpenedBackups, collection: OpenedCollection, asked: Asked, ports: Ports) -> GoldenQuery | None:
    """The query without its answers; None where the collection has not the point that others should be like."""
    alone = Searchable(opened.server, (collection,))
    vector, using = cast("Any", asked.vector), ""
    if asked.vector is not None or asked.like is not None:
        points: list[dict[str, Any]] = []
        if asked.like is not None:
            points = opened.server.retrieve(collection.name, [asked.like], with_payload=False, with_vector=True)
            if not points:
                return None
        using = vector_name(alone, collection, Question(vector=asked.vector, like=asked.like, using=asked.using))
        if asked.vector is not None:
            require_fit(alone, collection, using, asked.vector)
        else:
            vector = vector_of(points[0], using)
        if not vector:
            raise UsageError(f"point {asked.like} has no vector {using!r}", why="there is nothing to be like")
    condition = dict(asked.condition) if asked.condition else None
    what = [collection.name, asked.words, asked.like, asked.vector is not None, using, condition]
    return GoldenQuery(
        id=hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:_ID_DIGITS],
        collection=collection.name,
        backup_id=collection.backup.backup_id,
        recorded_at=ports.clock.now(),
        answers=(),
        limit=asked.limit,
        words=asked.words,
        like=asked.like,
        vector=vector,
        using=using,
        filter=condition,
    )
