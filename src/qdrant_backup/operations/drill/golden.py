"""Golden queries: asked of a collection, and the answers judged.

An honest backup must not fail for what its users did since: points that were deleted or edited are left out of the
judgement, by the fingerprints of the recorded answers, and so are those that better ones have displaced. How that shows
depends on what is ranked by. A dense vector's score for an unchanged point never changes, so an answer is displaced
when it scores no better than the last of the best. BM25's and a sparse vector's scores (by inverse document frequency)
change with the whole collection, so there an answer may fall some ranks: it has to be among the best 50, or five times
the limit.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from qdrant_backup.digest import payload_hash, vector_hash
from qdrant_backup.errors import ServerRefused, UsageError
from qdrant_backup.operations.drill.report import Check, failed, passed, warned
from qdrant_backup.operations.looking.opening import Searchable
from qdrant_backup.operations.looking.search import Question, by_distance, refused_as_usage, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qdrant_backup.model import CollectionName, Progress
    from qdrant_backup.operations.looking.opening import OpenedCollection
    from qdrant_backup.qdrant.server import Server
    from qdrant_backup.storage.golden import GoldenQuery

__all__ = ["LEAST_INDEXED", "LEAST_OVERLAP", "Answer", "answers", "asked_again", "fingerprints", "judge", "vector_of"]

PointId = int | str

LEAST_OVERLAP = 0.5
"""The share of the answers that are judged which has to come back."""

LEAST_INDEXED = 0.8
"""The share of the exact search's answers that the vector index should find too; below it a drill warns."""

_LEAST_WINDOW = 50
_WINDOW_FACTOR = 5
_TOLERANCE = 1e-5
"""How far the scores of the same vectors differ between processors, relative to them."""


class Answer(NamedTuple):
    """A point that answers now."""

    id: PointId
    score: float


def _by_words(query: GoldenQuery) -> bool:
    return query.vector is None


def _drifts(query: GoldenQuery) -> bool:
    """Whether scores depend on the rest of the collection."""
    return _by_words(query) or isinstance(query.vector, dict)


def window(query: GoldenQuery) -> int:
    """Among how many of the best answers a recorded one is looked for."""
    return max(_LEAST_WINDOW, _WINDOW_FACTOR * query.limit) if _drifts(query) else query.limit


def answers(
    server: Server,
    collection: OpenedCollection,
    query: GoldenQuery,
    progress: Progress,
    *,
    limit: int,
    exact: bool = True,
) -> list[Answer]:
    """The best answers of a collection that a server has, the best first.

    Raises:
        UsageError: the server refuses the question.
    """
    with refused_as_usage("the query is refused"):
        if _by_words(query):
            question = Question(words=query.words, condition=query.filter, limit=limit)
            found = search(Searchable(server, (collection,)), question, progress)
            return [Answer(hit.id, hit.score or 0.0) for hit in found]
        body: dict[str, Any] = {
            "query": query.vector,
            "limit": limit,
            "with_payload": False,
            "params": {"exact": exact},
        }
        if query.using:
            body["using"] = query.using
        if query.filter:
            body["filter"] = query.filter
        return [Answer(point["id"], point["score"]) for point in server.query(collection.name, body)]


def fingerprints(
    server: Server, name: CollectionName, query: GoldenQuery, ids: Iterable[PointId]
) -> dict[PointId, str]:
    """The fingerprint of each of these points that the collection has."""
    wanted = list(ids)
    if not wanted:
        return {}
    found = server.retrieve(name, wanted, with_payload=True, with_vector=not _by_words(query))
    return {point["id"]: _fingerprint(query, point) for point in found}


def _fingerprint(query: GoldenQuery, point: Mapping[str, Any]) -> str:
    parts = b""
    if _by_words(query) or query.filter:
        parts += payload_hash(point.get("payload"))
    if not _by_words(query):
        try:
            parts += vector_hash(vector_of(point, query.using))
        except (TypeError, AttributeError, struct.error):
            parts += b"none"  # No vector of that name, or one with numbers that JSON does not have.
    return parts.hex()


def vector_of(point: Mapping[str, Any], using: str) -> Any:
    """One of a point's vectors, as the server gave it; None where it has none of that name."""
    given = point.get("vector")
    if isinstance(given, dict) and "indices" not in given:
        return cast("dict[str, Any]", given).get(using)
    return cast("Any", given)


def judge(
    query: GoldenQuery, held: Mapping[PointId, str], now: Sequence[Answer], *, smaller_is_better: bool = False
) -> Check:
    """Whether a golden query is answered as it was recorded. Pure.

    Args:
        query: with the recorded answers.
        held: the fingerprints of those recorded answers that the collection has.
        now: the best answers, `window(query)` of them where there are as many.
        smaller_is_better: scores are distances.
    """
    unchanged = [answer for answer in query.answers if held.get(answer.id) == answer.fingerprint]
    found = {answer.id for answer in now}
    judged = [
        answer
        for answer in unchanged
        if answer.id in found or not _displaced(query, answer.score, now, smaller_is_better=smaller_is_better)
    ]
    left_out = len(query.answers) - len(unchanged)
    displaced = len(unchanged) - len(judged)
    remarks = "".join(
        f"; {count} left out, {why}"
        for count, why in ((left_out, "deleted or edited since"), (displaced, "displaced by better ones"))
        if count
    )
    what = f"{query.id} {query.question}: "
    if not judged:
        return warned(
            query.collection,
            "golden",
            f"{what}none of the {len(query.answers)} recorded answers can be judged{remarks}; record it again",
        )
    there = sum(answer.id in found for answer in judged)
    detail = f"{what}{there} of {len(judged)} recorded answers are among the best {window(query)}{remarks}"
    share = there / len(judged)
    if share < LEAST_OVERLAP:
        return failed(query.collection, "golden", f"{detail} (at least {LEAST_OVERLAP:.0%} must be)")
    if share < 1:
        return warned(query.collection, "golden", detail)
    return passed(query.collection, "golden", detail)


def _displaced(query: GoldenQuery, score: float, now: Sequence[Answer], *, smaller_is_better: bool) -> bool:
    if _drifts(query) or len(now) < query.limit:
        return False
    last = now[-1].score
    slack = _TOLERANCE * max(abs(last), abs(score), _TOLERANCE)
    return score >= last - slack if smaller_is_better else score <= last + slack


def asked_again(
    server: Server, collection: OpenedCollection, queries: Sequence[GoldenQuery], progress: Progress
) -> Iterator[Check]:
    """The checks of a collection's golden queries: exact search judges, the vector index may only warn."""
    for query in queries:
        yield from _one(server, collection, query, progress)


def _one(server: Server, collection: OpenedCollection, query: GoldenQuery, progress: Progress) -> Iterator[Check]:
    try:
        yield from _asked(server, collection, query, progress)
    except (UsageError, ServerRefused) as error:
        # Strict mode may forbid exact searches or unindexed filters; that is no fault of the backup.
        yield warned(query.collection, "golden", f"{query.id} {query.question}: could not be asked: {error}")


def _asked(server: Server, collection: OpenedCollection, query: GoldenQuery, progress: Progress) -> Iterator[Check]:
    if not _by_words(query):
        fault = _misfit(query, server.collection(collection.name).config["params"])
        if fault:
            yield warned(query.collection, "golden", f"{query.id} {query.question}: {fault}; record it again")
            return
    now = answers(server, collection, query, progress, limit=window(query))
    held = fingerprints(server, collection.name, query, (answer.id for answer in query.answers))
    alone = Searchable(server, (collection,))
    smaller = not _by_words(query) and by_distance(alone, Question(vector=query.vector, using=query.using))
    yield judge(query, held, now, smaller_is_better=smaller)
    if not _by_words(query):
        indexed = answers(server, collection, query, progress, limit=query.limit, exact=False)
        yield _index_check(query, now[: query.limit], indexed)


def _misfit(query: GoldenQuery, params: Mapping[str, Any]) -> str:
    """Why the recorded vector cannot be compared with the collection's any more; empty when it can."""
    dense = cast("dict[str, Any]", params.get("vectors") or {})
    if isinstance(dense.get("size"), int):
        dense = {"": dense}
    if isinstance(query.vector, dict):
        return "" if query.using in (params.get("sparse_vectors") or {}) else f"there is no vector {query.using!r} now"
    if query.using not in dense:
        return f"there is no vector {query.using!r} now"
    rows = cast("list[Any]", query.vector)
    length = len(cast("list[Any]", rows[0])) if rows and isinstance(rows[0], list) else len(rows)
    size = dense[query.using]["size"]
    return "" if size == length else f"its vector has {length} numbers, and the collection's have {size} now"


def _index_check(query: GoldenQuery, exact: Sequence[Answer], indexed: Sequence[Answer]) -> Check:
    wanted = {answer.id for answer in exact}
    there = len(wanted & {answer.id for answer in indexed})
    detail = f"{query.id} {query.question}: the index finds {there} of the {len(wanted)} best"
    if there < LEAST_INDEXED * len(wanted):
        return warned(query.collection, "golden-index", detail)
    return passed(query.collection, "golden-index", detail)
