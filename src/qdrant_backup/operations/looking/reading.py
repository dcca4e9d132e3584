"""Reads what opened backups hold: their points, line by line, and which values a payload field has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from qdrant_backup.errors import OperationFailed, ServerRefused
from qdrant_backup.operations.looking.search import refused_as_usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qdrant_backup.operations.looking.opening import OpenedBackups, OpenedCollection

__all__ = ["facet", "points", "values_at"]

_PAGE_POINTS = 250
_IDS_AT_ONCE = 1000
_BAD_REQUEST = range(400, 500)
_LIST_MARK = re.compile(r"\[\d*\]")
_NOT_FINITE = "NaN"


def points(
    opened: OpenedBackups,
    collection: OpenedCollection,
    *,
    condition: Mapping[str, Any] | None = None,
    ids: Sequence[int | str] | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """The points of a collection as {id, payload, vector}, page by page: all, those of a filter, or those of ids.

    A vector's numbers are the float32 values exactly, as decimals that read back to the same; one that is no finite
    number is the text `NaN`, since JSON has no number for it.

    Raises:
        UsageError: the filter is refused.
        OperationFailed: an id does not exist.
    """
    with refused_as_usage("the filter is refused"):
        if ids is None:
            pages = opened.server.matching(collection.name, condition, limit=_PAGE_POINTS, with_vector=True)
            for page in pages:
                yield [_plain(point) for point in page]
            return
        for at in range(0, len(ids), _IDS_AT_ONCE):
            yield _of_ids(opened, collection, ids[at : at + _IDS_AT_ONCE], condition)


def _of_ids(
    opened: OpenedBackups, collection: OpenedCollection, ids: Sequence[int | str], condition: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    found = {
        point["id"]: point
        for point in opened.server.retrieve(collection.name, ids, with_payload=True, with_vector=True)
    }
    missing = [identity for identity in ids if identity not in found]
    if missing:
        raise OperationFailed(
            f"there is no point {missing[0]} in {collection.name!r}",
            why=f"{len(missing)} of the {len(ids)} ids do not exist there",
            advice="Leave out --ids to see which there are.",
        )
    if condition is not None:
        must = {"must": [{"has_id": list(ids)}, dict(condition)]}
        pages = opened.server.matching(collection.name, must, limit=_IDS_AT_ONCE, with_payload=False)
        allowed = {point["id"] for page in pages for point in page}
        return [_plain(found[identity]) for identity in ids if identity in allowed]
    return [_plain(found[identity]) for identity in ids]


def _plain(point: dict[str, Any]) -> dict[str, Any]:
    return {"id": point["id"], "payload": point.get("payload") or {}, "vector": _finite(point.get("vector"))}


def _finite(vector: Any) -> Any:
    """The vector with a name for what the server could only write as null."""
    if isinstance(vector, dict):
        return {name: _finite(one) for name, one in cast("dict[str, Any]", vector).items()}
    if isinstance(vector, list):
        numbers = cast("list[Any]", vector)
        if None not in numbers and not (numbers and isinstance(numbers[0], list)):
            return numbers
        return [_NOT_FINITE if one is None else _finite(one) for one in numbers]
    return vector


def values_at(payload: Any, path: str) -> list[Any]:
    """The plain values of a payload field; `.` leads into objects, and lists stand for their members."""
    found: list[Any] = [payload]
    for key in _LIST_MARK.sub("", path).split("."):
        inner: list[Any] = []
        for one in found:
            members = cast("list[Any]", one) if isinstance(one, list) else [one]
            inner += [member[key] for member in members if isinstance(member, dict) and key in member]
        found = inner
    flat: list[Any] = []
    for one in found:
        flat += cast("list[Any]", one) if isinstance(one, list) else [one]
    return [one for one in flat if not isinstance(one, (dict, list))]


def facet(
    opened: OpenedBackups,
    collection: OpenedCollection,
    field: str,
    *,
    limit: int,
    condition: Mapping[str, Any] | None = None,
) -> list[tuple[Any, int]]:
    """The commonest values of a payload field, and how many points have each; none where no point has the field.

    An index that the collection has on the field is used; without one every payload is read.

    Raises:
        UsageError: the filter is refused.
    """
    try:
        return opened.server.facet(collection.name, field, limit, condition)
    except ServerRefused as error:
        if error.status not in _BAD_REQUEST:
            raise
    counts: dict[tuple[str, Any], int] = {}
    with refused_as_usage("the filter is refused"):
        inside = _LIST_MARK.sub("", field).split(".")[0]
        for page in opened.server.matching(collection.name, condition, limit=1000, with_payload=[inside]):
            for point in page:
                # By kind too: True, 1 and 1.0 are one key in Python and three values in JSON.
                for value in {(type(one).__name__, one) for one in values_at(point.get("payload"), field)}:
                    counts[value] = counts.get(value, 0) + 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0][1])))
    return [(value, count) for (_, value), count in ordered[:limit]]
