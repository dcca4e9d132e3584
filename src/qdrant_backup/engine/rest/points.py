"""Changing points and reading them by id, filter and order; over all shards of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qdrant_edge as edge

from qdrant_backup.engine.rest.answers import ApiError, bad_input, bad_request, not_found
from qdrant_backup.engine.rest.filters import filter_of, point_id_of
from qdrant_backup.engine.rest.values import JsonObject, is_object
from qdrant_backup.engine.rest.vectors import (
    payload_choice,
    points_of,
    shown_of,
    vector_choice,
    vectors_of,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable

    from qdrant_backup.engine.rest.collection import Collection

__all__ = ["OPERATIONS", "change", "count", "facet", "order_by_of", "record_json", "retrieve", "scroll", "sort_key"]

MODES = {
    "upsert": edge.UpdateMode.Upsert,
    "insert_only": edge.UpdateMode.InsertOnly,
    "update_only": edge.UpdateMode.UpdateOnly,
}
DEFAULT_LIMIT = 10
EMPTY = "Empty update request"


def _by_shard(collection: Collection, ids: Iterable[Any]) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = {}
    for one in ids:
        groups.setdefault(collection.ring.shard_of(one), []).append(one)
    return groups


def _upsert(collection: Collection, body: JsonObject) -> None:
    groups: dict[int, list[Any]] = {}
    points = points_of(body)
    if not points:
        raise bad_request(EMPTY)
    for point_id, vectors, payload in points:
        groups.setdefault(collection.ring.shard_of(point_id), []).append(edge.Point(point_id, vectors, payload))
    condition, mode = filter_of(body.get("update_filter")), MODES[body.get("update_mode") or "upsert"]
    for number, group in groups.items():
        collection.shards[number].update(edge.UpdateOperation.upsert_points(group, condition, mode))


def _update_vectors(collection: Collection, body: JsonObject) -> None:
    groups: dict[int, list[Any]] = {}
    for one in body["points"]:
        point_id = point_id_of(one["id"])
        row = edge.PointVectors(point_id, vectors_of(one["vector"]))
        groups.setdefault(collection.ring.shard_of(point_id), []).append(row)
    for number, rows in groups.items():
        _require_points(collection, number, [row.id for row in rows])
        operation = edge.UpdateOperation.update_vectors(rows, filter_of(body.get("update_filter")))
        collection.shards[number].update(operation)


def _require_points(collection: Collection, number: int, ids: list[Any]) -> None:
    found = {record.id for record in collection.shards[number].engine.retrieve(ids, False, False)}
    missing = [one for one in ids if one not in found]
    if missing:
        description = f"No point with id {missing[0]} found"
        raise not_found(description)


def _selected(
    collection: Collection,
    body: JsonObject,
    by_ids: Callable[[list[Any]], Any],
    by_filter: Callable[[Any], Any],
) -> None:
    """Apply an operation to the points that `points` or `filter` select."""
    if body.get("points") is not None:
        ids = [point_id_of(one) for one in body["points"]]
        if not ids:
            raise bad_request(EMPTY)
        for number, group in _by_shard(collection, ids).items():
            collection.shards[number].update(by_ids(group))
    elif body.get("filter") is not None:
        condition = filter_of(body["filter"]) or edge.Filter()
        for shard in collection.shards:
            shard.update(by_filter(condition))
    elif "vector" in body:
        description = "No filter or points provided"
        raise bad_request(description)
    elif "payload" in body or "keys" in body:
        message = "Format error in JSON body: Either list of point ids or filter must be provided"
        raise ApiError(400, message)
    else:
        message = "Format error in JSON body: data did not match any variant of untagged enum PointsSelector"
        raise ApiError(400, message)


def _delete(collection: Collection, body: JsonObject) -> None:
    made = edge.UpdateOperation
    _selected(collection, body, made.delete_points, made.delete_points_by_filter)


def _set_payload(collection: Collection, body: JsonObject) -> None:
    payload, key, made = body["payload"], body.get("key"), edge.UpdateOperation
    _selected(
        collection,
        body,
        lambda ids: made.set_payload(ids, payload, key),
        lambda condition: made.set_payload_by_filter(condition, payload, key),
    )


def _overwrite_payload(collection: Collection, body: JsonObject) -> None:
    payload, key, made = body["payload"], body.get("key"), edge.UpdateOperation
    _selected(
        collection,
        body,
        lambda ids: made.overwrite_payload(ids, payload, key),
        lambda condition: made.overwrite_payload_by_filter(condition, payload, key),
    )


def _delete_payload(collection: Collection, body: JsonObject) -> None:
    keys, made = body["keys"], edge.UpdateOperation
    _selected(
        collection,
        body,
        lambda ids: made.delete_payload(ids, keys),
        lambda condition: made.delete_payload_by_filter(condition, keys),
    )


def _clear_payload(collection: Collection, body: JsonObject) -> None:
    made = edge.UpdateOperation
    _selected(collection, body, made.clear_payload, made.clear_payload_by_filter)


def _delete_vectors(collection: Collection, body: JsonObject) -> None:
    names: list[str] = body.get("vector") or body.get("vectors") or []
    collection.require_vectors(set(names))
    made = edge.UpdateOperation
    _selected(
        collection,
        body,
        lambda ids: made.delete_vectors(ids, names),
        lambda condition: made.delete_vectors_by_filter(condition, names),
    )


OPERATIONS: dict[str, Callable[[Collection, JsonObject], None]] = {
    "upsert": _upsert,
    "delete": _delete,
    "set_payload": _set_payload,
    "overwrite_payload": _overwrite_payload,
    "delete_payload": _delete_payload,
    "clear_payload": _clear_payload,
    "update_vectors": _update_vectors,
    "delete_vectors": _delete_vectors,
}
"""By the names that `POST /collections/{c}/points/batch` gives them."""


def change(collection: Collection, operation: str, body: JsonObject, *, wait: bool) -> JsonObject:
    """Apply one of `OPERATIONS`; it is done and logged when this returns, whatever `wait` says.

    Raises:
        ApiError: 400, 404 or 422.
    """
    if operation not in OPERATIONS:
        message = "Format error in JSON body: data did not match any variant of untagged enum UpdateOperation"
        raise ApiError(400, message)
    with collection.lock:
        collection.open_shards()
        OPERATIONS[operation](collection, body)
        return {"operation_id": collection.next_operation(), "status": "completed" if wait else "acknowledged"}


def sort_key(point_id: int | uuid.UUID) -> tuple[int, int]:
    """The server's order of ids: numbers first, then UUIDs."""
    return (0, point_id) if isinstance(point_id, int) else (1, point_id.int)


def record_json(record: Any) -> JsonObject:
    """A point as `scroll` and `retrieve` answer it."""
    found: JsonObject = {"id": record.id, **shown_of(record)}
    if getattr(record, "order_value", None) is not None:
        found["order_value"] = record.order_value
    return found


def retrieve(collection: Collection, body: JsonObject) -> list[JsonObject]:
    """The points with these ids, those that exist, in the order asked for."""
    ids = [point_id_of(one) for one in body["ids"]]
    payload, vector = payload_choice(body.get("with_payload"), False), vector_choice(body.get("with_vector"), False)
    found = {record.id: record_json(record) for record in collection.find(ids, payload, vector)}
    return [found[one] for one in dict.fromkeys(ids) if one in found]


def order_by_of(given: Any) -> Any:
    """The engine's order, from a field's name or an object."""
    if isinstance(given, str):
        return edge.OrderBy(given)
    directions = {"asc": edge.Direction.Asc, "desc": edge.Direction.Desc}
    return edge.OrderBy(given["key"], directions.get(given.get("direction") or "asc"), given.get("start_from"))


def scroll(collection: Collection, body: JsonObject) -> JsonObject:
    """A page of points by id, or by a payload field.

    Raises:
        ApiError: 400 for a field without a range index, 422 for a limit below 1.
    """
    limit: int = DEFAULT_LIMIT if body.get("limit") is None else body["limit"]
    if limit < 1:
        message = f"Validation error in JSON body: [scroll_request.limit: value {limit} invalid, must be 1 or larger]"
        raise ApiError(422, message)
    order, offset = body.get("order_by"), body.get("offset")
    if order and offset is not None:
        description = "Cannot use an `offset` when using `order_by`. The alternative for paging is to use `order_by.start_from` and a filter to exclude the IDs that you've already seen for the `order_by.start_from` value"
        raise bad_input(description)
    request = edge.ScrollRequest(
        None if offset is None else point_id_of(offset),
        limit + 1 if not order else limit,
        filter_of(body.get("filter")),
        payload_choice(body.get("with_payload"), True),
        vector_choice(body.get("with_vector"), False),
        order_by_of(order) if order else None,
    )
    with collection.lock:
        records = [record for engine in collection.open_shards() for record in engine.scroll(request)[0]]
    if order:
        descending = is_object(order) and order.get("direction") == "desc"
        records.sort(key=lambda record: record.order_value, reverse=descending)
        return {"points": [record_json(one) for one in records[:limit]], "next_page_offset": None}
    if len(collection.shards) > 1:
        records.sort(key=lambda record: sort_key(record.id))
    following = records[limit].id if len(records) > limit else None
    return {"points": [record_json(one) for one in records[:limit]], "next_page_offset": following}


def count(collection: Collection, body: JsonObject) -> JsonObject:
    """How many points match; always exact."""
    request = edge.CountRequest(True, filter_of(body.get("filter")))
    with collection.lock:
        return {"count": sum(engine.count(request) for engine in collection.open_shards())}


def facet(collection: Collection, body: JsonObject) -> JsonObject:
    """The commonest values of a payload field.

    Raises:
        ApiError: 400, the field has no index that can tell.
    """
    limit: int = DEFAULT_LIMIT if body.get("limit") is None else body["limit"]
    every = len(collection.shards) > 1
    request = edge.FacetRequest(
        body["key"],
        1 << 20 if every else limit,
        True,
        filter_of(body.get("filter")),
    )
    counts: dict[Any, int] = {}
    with collection.lock:
        for engine in collection.open_shards():
            for hit in engine.facet(request):
                counts[hit.value] = counts.get(hit.value, 0) + hit.count
    hits = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))[:limit]
    return {"hits": [{"value": value, "count": number} for value, number in hits]}
