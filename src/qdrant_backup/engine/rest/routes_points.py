"""Endpoints of points: changes, reads, searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.engine.rest import points, queries
from qdrant_backup.engine.rest.answers import ApiError, bad_input, not_found
from qdrant_backup.engine.rest.calls import WRITE, Call, Endpoint
from qdrant_backup.engine.rest.filters import point_id_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from qdrant_backup.engine.rest.values import JsonObject

__all__ = ["ENDPOINTS"]


def _changing(operation: str) -> Callable[[Call], JsonObject]:
    def answer(call: Call) -> JsonObject:
        wait = call.flag("wait", default=False)
        return points.change(call.collection, operation, call.body, wait=wait)

    return answer


def _batch(call: Call) -> list[JsonObject]:
    wait = call.flag("wait", default=False)
    done: list[JsonObject] = []
    for operation in call.body["operations"]:
        (name, body), *_ = operation.items()
        done.append(points.change(call.collection, name, body, wait=wait))
    return done


def _get(call: Call) -> JsonObject:
    given = call.path["id"]
    try:
        point_id_of(int(given) if given.isdigit() else given)
    except ApiError:
        description = f'Can not recognize "{given}" as point id'
        raise bad_input(description) from None
    body = {"ids": [int(given) if given.isdigit() else given], "with_payload": True, "with_vector": True}
    found = points.retrieve(call.collection, body)
    if not found:
        description = f"Point with id {given} does not exists!"
        raise not_found(description)
    return found[0]


def _retrieve(call: Call) -> list[JsonObject]:
    return points.retrieve(call.collection, call.body)


def _scroll(call: Call) -> JsonObject:
    return points.scroll(call.collection, call.body)


def _count(call: Call) -> JsonObject:
    return points.count(call.collection, call.body)


def _facet(call: Call) -> JsonObject:
    return points.facet(call.collection, call.body)


def _query(call: Call) -> JsonObject:
    return {"points": queries.query(call.storage, call.collection, call.body)}


def _query_batch(call: Call) -> list[JsonObject]:
    collection = call.collection
    return [{"points": queries.query(call.storage, collection, one)} for one in call.body["searches"]]


def _groups(call: Call) -> JsonObject:
    return queries.query_groups(call.storage, call.collection, call.body)


def _search(call: Call) -> list[JsonObject]:
    return queries.query(call.storage, call.collection, queries.search_body(call.body))


def _search_batch(call: Call) -> list[list[JsonObject]]:
    collection = call.collection
    return [queries.query(call.storage, collection, queries.search_body(one)) for one in call.body["searches"]]


def _search_groups(call: Call) -> JsonObject:
    return queries.query_groups(call.storage, call.collection, queries.search_body(call.body))


POINTS = "/collections/{collection}/points"
ENDPOINTS = (
    Endpoint("PUT", POINTS, _changing("upsert"), WRITE, "json"),
    Endpoint("POST", POINTS, _retrieve, body="json"),
    Endpoint("POST", f"{POINTS}/delete", _changing("delete"), WRITE, "json"),
    Endpoint("POST", f"{POINTS}/payload", _changing("set_payload"), WRITE, "json"),
    Endpoint("PUT", f"{POINTS}/payload", _changing("overwrite_payload"), WRITE, "json"),
    Endpoint("POST", f"{POINTS}/payload/delete", _changing("delete_payload"), WRITE, "json"),
    Endpoint("POST", f"{POINTS}/payload/clear", _changing("clear_payload"), WRITE, "json"),
    Endpoint("PUT", f"{POINTS}/vectors", _changing("update_vectors"), WRITE, "json"),
    Endpoint("POST", f"{POINTS}/vectors/delete", _changing("delete_vectors"), WRITE, "json"),
    Endpoint("POST", f"{POINTS}/batch", _batch, WRITE, "json"),
    Endpoint("POST", f"{POINTS}/scroll", _scroll, body="json"),
    Endpoint("POST", f"{POINTS}/count", _count, body="json"),
    Endpoint("POST", f"{POINTS}/query", _query, body="json"),
    Endpoint("POST", f"{POINTS}/query/batch", _query_batch, body="json"),
    Endpoint("POST", f"{POINTS}/query/groups", _groups, body="json"),
    Endpoint("POST", f"{POINTS}/search", _search, body="json"),
    Endpoint("POST", f"{POINTS}/search/batch", _search_batch, body="json"),
    Endpoint("POST", f"{POINTS}/search/groups", _search_groups, body="json"),
    Endpoint("POST", "/collections/{collection}/facet", _facet, body="json"),
    Endpoint("GET", POINTS + "/{id}", _get),
)
