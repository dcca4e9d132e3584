"""Searches opened backups: by words, by a vector, by both at once, by likeness to a point, or by a filter alone."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import uuid
from typing import TYPE_CHECKING, Any, cast

from qdrant_backup.errors import OperationFailed, ServerRefused, UsageError
from qdrant_backup.operations.looking.words import word_index

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from qdrant_backup.model import Progress
    from qdrant_backup.operations.looking.opening import OpenedCollection, Searchable

__all__ = [
    "Hit",
    "Question",
    "by_distance",
    "point_id",
    "refused_as_usage",
    "require_fit",
    "search",
    "vector_name",
    "vector_sizes",
]

PointId = int | str
Ranked = list[tuple[PointId, float]]

_RRF_K = 60
"""The constant of reciprocal rank fusion's authors; what is fused are ranks, so no score needs to fit another."""

_FUSED_PER_HIT = 5
_LEAST_FUSED = 50
_CANDIDATES = 1000
_LARGEST_ID = 1 << 64
_BAD_REQUEST = range(400, 500)


@dataclasses.dataclass(frozen=True)
class Question:
    """What is searched for.

    Attributes:
        words: rank points by these words.
        vector: rank points by their distance to it.
        like: rank points by their distance to this point's vector.
        condition: Qdrant's filter.
        using: the vector's name, where a collection has several.
        limit: how many hits.
    """

    words: str | None = None
    vector: list[float] | None = None
    like: PointId | None = None
    condition: Mapping[str, Any] | None = None
    using: str | None = None
    limit: int = 10


@dataclasses.dataclass(frozen=True)
class Hit:
    """A point that answers. `score` is None where nothing was ranked."""

    collection: str
    id: PointId
    score: float | None
    payload: dict[str, Any]


def point_id(text: str) -> PointId:
    """A point's id as the server writes it.

    Raises:
        UsageError: it is neither a number nor a UUID.
    """
    if text.isascii() and text.isdigit() and int(text) < _LARGEST_ID:
        return int(text)
    with contextlib.suppress(ValueError):
        return str(uuid.UUID(text))
    raise UsageError(f"{text!r} is no id of a point", why="an id is a number from 0 to 2^64-1, or a UUID")


@contextlib.contextmanager
def refused_as_usage(what: str) -> Generator[None]:
    """What the server refuses as malformed is the user's to correct, not an accident."""
    try:
        yield
    except ServerRefused as error:
        if error.status not in _BAD_REQUEST:
            raise
        why = re.sub(r"^HTTP \d+: ", "", error.why)
        raise UsageError(what, why=why) from None


def vector_sizes(opened: Searchable, collection: OpenedCollection) -> dict[str, int | None]:
    """The collection's vectors by name, and their sizes; sparse ones have none. The unnamed one is the empty string."""
    params: dict[str, Any] = opened.server.collection(collection.name).config["params"]
    dense: dict[str, Any] = params.get("vectors") or {}
    if isinstance(dense.get("size"), int):
        dense = {"": dense}
    sparse: dict[str, Any] = params.get("sparse_vectors") or {}
    return {name: one["size"] for name, one in dense.items()} | dict.fromkeys(sparse)


def search(opened: Searchable, question: Question, progress: Progress) -> list[Hit]:
    """The points that answer a question, the best first; with nothing to rank by, in the order of collections and ids.

    Words and a vector together are fused by rank (RRF).

    Raises:
        UsageError: the filter is refused, a vector has another size or name than the collection's.
        OperationFailed: the point that others should be like does not exist.
    """
    with refused_as_usage("the search is refused"):
        hits = [hit for one in _asked(opened, question) for hit in _hits(opened, one, question, progress)]
    if question.words is None and question.vector is None and question.like is None:
        return hits[: question.limit]
    better = _smaller_first if by_distance(opened, question) else _larger_first
    return sorted(hits, key=better)[: question.limit]


def _larger_first(hit: Hit) -> float:
    return -(hit.score or 0.0)


def _smaller_first(hit: Hit) -> float:
    return hit.score or 0.0


def by_distance(opened: Searchable, question: Question) -> bool:
    """Whether the scores are distances, of which the smaller is the better."""
    if question.words is not None or not opened.collections:
        return False
    collection = _asked(opened, question)[0]
    params: dict[str, Any] = opened.server.collection(collection.name).config["params"]
    dense: dict[str, Any] = params.get("vectors") or {}
    name = vector_name(opened, collection, question)
    one: dict[str, Any] = dense if name == "" else dense.get(name) or {}
    return one.get("distance") in {"Euclid", "Manhattan"}


def _asked(opened: Searchable, question: Question) -> Sequence[OpenedCollection]:
    if question.like is None:
        return opened.collections
    found = [one for one in opened.collections if opened.server.retrieve(one.name, [question.like], with_payload=False)]
    if not found:
        names = ", ".join(one.name for one in opened.collections)
        raise OperationFailed(
            f"there is no point {question.like}",
            why=f"none of {names or 'no collection'} has it",
            advice="Check the id.",
        )
    return found[:1]


def _hits(opened: Searchable, collection: OpenedCollection, question: Question, progress: Progress) -> list[Hit]:
    by_vector = question.vector is not None or question.like is not None
    if question.words is None and not by_vector:
        return _filtered(opened, collection, question)
    if question.words is None:
        return _nearest(opened, collection, question, question.limit)
    if not by_vector:
        return _worded(opened, collection, question, question.limit, progress)
    wide = max(_LEAST_FUSED, question.limit * _FUSED_PER_HIT)
    lists = [
        _worded(opened, collection, question, wide, progress),
        _nearest(opened, collection, question, wide),
    ]
    return _fused(lists)


def _fused(lists: Sequence[list[Hit]]) -> list[Hit]:
    scores: dict[PointId, float] = {}
    known: dict[PointId, Hit] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, 1):
            scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (_RRF_K + rank)
            known[hit.id] = hit
    fused = [dataclasses.replace(known[identity], score=score) for identity, score in scores.items()]
    return sorted(fused, key=_larger_first)


def _filtered(opened: Searchable, collection: OpenedCollection, question: Question) -> list[Hit]:
    pages = opened.server.matching(collection.name, question.condition, limit=min(question.limit, _CANDIDATES))
    points = itertools.islice(itertools.chain.from_iterable(pages), question.limit)
    return [_hit(collection, point, None) for point in points]


def _hit(collection: OpenedCollection, point: dict[str, Any], score: float | None) -> Hit:
    return Hit(collection.name, point["id"], score, cast("dict[str, Any]", point.get("payload") or {}))


def vector_name(opened: Searchable, collection: OpenedCollection, question: Question) -> str:
    """The name of the vector to search by; the unnamed one is the empty string.

    Raises:
        UsageError: there is none of that name, or several to choose from.
    """
    sizes = vector_sizes(opened, collection)
    if question.using is None and len(sizes) > 1 and "" not in sizes:
        dense = [name for name, size in sizes.items() if size is not None]
        if len(dense) != 1:
            raise UsageError(
                f"{collection.name!r} has several vectors",
                why=", ".join(sorted(sizes)),
                advice="Choose with --vector NAME.",
            )
        return dense[0]
    name = question.using if question.using is not None else next(iter(sizes), "")
    if name not in sizes:
        known = ", ".join(sorted(one or "(the unnamed one)" for one in sizes))
        raise UsageError(f"{collection.name!r} has no vector {name!r}", why=f"it has {known}")
    return name


def require_fit(opened: Searchable, collection: OpenedCollection, name: str, vector: Sequence[float]) -> None:
    """Whether a vector has the size of those that it is to be compared with; raises UsageError when it has not."""
    size = vector_sizes(opened, collection)[name]
    if size is not None and size != len(vector):
        raise UsageError(
            f"the question's vector does not fit {collection.name!r}",
            why=f"it has {len(vector)} numbers, and the collection's have {size}: another embedding model",
            advice="Embed with the model that made the collection's vectors, or choose another with --collection.",
        )


def _nearest(opened: Searchable, collection: OpenedCollection, question: Question, limit: int) -> list[Hit]:
    name = vector_name(opened, collection, question)
    if question.vector is not None:
        require_fit(opened, collection, name, question.vector)
    body: dict[str, Any] = {
        "query": question.vector if question.vector is not None else question.like,
        "limit": limit,
        "params": {"exact": True},
        "with_payload": True,
    }
    if name:
        body["using"] = name
    if question.condition:
        body["filter"] = dict(question.condition)
    return [_hit(collection, point, point["score"]) for point in opened.server.query(collection.name, body)]


def _worded(
    opened: Searchable, collection: OpenedCollection, question: Question, limit: int, progress: Progress
) -> list[Hit]:
    index = word_index(opened.server, collection, progress)
    with contextlib.closing(index):
        if question.condition is None:
            return _shown(opened, collection, list(index.ranked(question.words or "", limit)), None)
        return _allowed(opened, collection, question, index.ranked, limit)


def _allowed(
    opened: Searchable,
    collection: OpenedCollection,
    question: Question,
    ranked: Callable[[str], Iterator[tuple[PointId, float]]],
    limit: int,
) -> list[Hit]:
    """The best that the filter lets through, asked for in portions from the best on."""
    hits: list[Hit] = []
    candidates = ranked(question.words or "")
    while len(hits) < limit and (portion := list(itertools.islice(candidates, _CANDIDATES))):
        hits += _shown(opened, collection, portion, question.condition)
    return hits[:limit]


def _shown(
    opened: Searchable, collection: OpenedCollection, ranked: Ranked, condition: Mapping[str, Any] | None
) -> list[Hit]:
    """Hits in the order of their ranks, without those that a filter does not let through."""
    if not ranked:
        return []
    ids: list[Any] = [identity for identity, _ in ranked]
    must: list[Any] = [{"has_id": ids}, *([dict(condition)] if condition else [])]
    found = {
        point["id"]: point
        for page in opened.server.matching(collection.name, {"must": must}, limit=_CANDIDATES)
        for point in page
    }
    return [_hit(collection, found[identity], score) for identity, score in ranked if identity in found]
