"""Endpoints of collections, payload indexes and aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.engine.rest.answers import ApiError
from qdrant_backup.engine.rest.calls import WRITE, Call, Endpoint

if TYPE_CHECKING:
    from qdrant_backup.engine.rest.values import JsonObject

__all__ = ["ENDPOINTS"]


def _list(call: Call) -> JsonObject:
    return {"collections": [{"name": name} for name in list(call.storage.collections)]}


def _create(call: Call) -> bool:
    call.storage.create(call.path["collection"], call.body)
    return True


def _delete(call: Call) -> bool:
    return call.storage.delete(call.path["collection"])


def _change(call: Call) -> bool:
    call.storage.change(call.path["collection"], call.body)
    return True


def _exists(call: Call) -> JsonObject:
    storage = call.storage
    return {"exists": storage.resolve(call.path["collection"]) in storage.collections}


def _optimizations(call: Call) -> JsonObject:
    collection = call.collection
    collection.require_whole()
    wanted = call.query.get("with", "").split(",")
    summary = {"queued_optimizations": 0, "queued_segments": 0, "queued_points": 0, "idle_segments": 0}
    answer: JsonObject = {"summary": summary, "running": []}
    for name in ("queued", "completed", "idle_segments"):
        if name in wanted:
            answer[name] = []
    return answer


def _create_index(call: Call) -> JsonObject:
    if "field_name" not in call.body:
        message = "Format error in JSON body: missing field `field_name`"
        raise ApiError(400, message)
    collection = call.collection
    # The server's field is `field_schema`; without one it looks at the points, which nobody relies on here.
    given = call.body.get("field_schema") or call.body.get("field_type")
    if given is None:
        message = "Wrong input: Cannot auto-detect index type, please specify `field_schema`"
        raise ApiError(400, message)
    collection.create_index(call.body["field_name"], given)
    call.storage.save()
    return _done(call)


def _delete_index(call: Call) -> JsonObject:
    call.collection.delete_index(call.path["field"])
    call.storage.save()
    return _done(call)


def _done(call: Call) -> JsonObject:
    status = "completed" if call.flag("wait", default=False) else "acknowledged"
    return {"operation_id": call.collection.next_operation(), "status": status}


def _aliases_of(call: Call, name: str | None) -> JsonObject:
    pairs = sorted(call.storage.aliases.items())
    listed = [
        {"alias_name": alias, "collection_name": target} for alias, target in pairs if name is None or target == name
    ]
    return {"aliases": listed}


def _all_aliases(call: Call) -> JsonObject:
    return _aliases_of(call, None)


def _collection_aliases(call: Call) -> JsonObject:
    return _aliases_of(call, call.path["collection"])


def _change_aliases(call: Call) -> bool:
    call.storage.change_aliases(call.body["actions"])
    return True


def _info(call: Call) -> JsonObject:
    return call.collection.info()


def _cluster(call: Call) -> JsonObject:
    return call.collection.cluster(call.storage.peer_id)


ONE = "/collections/{collection}"
ENDPOINTS = (
    Endpoint("GET", "/collections", _list),
    Endpoint("POST", "/collections/aliases", _change_aliases, WRITE, "json"),
    Endpoint("GET", "/aliases", _all_aliases),
    Endpoint("GET", ONE, _info),
    Endpoint("PUT", ONE, _create, WRITE, "json"),
    Endpoint("PATCH", ONE, _change, WRITE, "json"),
    Endpoint("DELETE", ONE, _delete, WRITE),
    Endpoint("GET", f"{ONE}/exists", _exists),
    Endpoint("GET", f"{ONE}/cluster", _cluster),
    Endpoint("GET", f"{ONE}/optimizations", _optimizations),
    Endpoint("GET", f"{ONE}/aliases", _collection_aliases),
    Endpoint("PUT", f"{ONE}/index", _create_index, WRITE, "json"),
    Endpoint("DELETE", ONE + "/index/{field}", _delete_index, WRITE),
)
