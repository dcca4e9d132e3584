"""Points and vectors: from the REST API's JSON to the engine's values, and back."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from qdrant_backup.engine.rest.answers import ApiError, bad_input
from qdrant_backup.engine.rest.filters import point_id_of
from qdrant_backup.engine.rest.values import JsonObject, is_list, is_object

__all__ = ["named_vector", "payload_choice", "points_of", "shown_of", "vector_choice", "vectors_of"]


def named_vector(given: Any) -> Any:
    """One vector: dense, multi, or sparse.

    Raises:
        ApiError: 400, it is none of these.
    """
    if is_object(given):
        if "indices" in given and "values" in given:
            indices, values = given["indices"], given["values"]
            if len(indices) != len(values):
                message = "Validation error in JSON body: [indices: must be the same length as values]"
                raise ApiError(422, message)
            if len(set(indices)) != len(indices):
                message = "Validation error in JSON body: [indices: must be unique]"
                raise ApiError(422, message)
            return edge.SparseVector(indices, values)
        description = "the embedded server has no inference service"
        raise bad_input(description)
    if not is_list(given):
        message = "Format error in JSON body: data did not match any variant of untagged enum VectorStruct"
        raise ApiError(400, message)
    return given


def vectors_of(given: Any) -> Any:
    """All vectors of a point: one list for the unnamed vector, or an object with a vector per name."""
    if is_object(given) and not ("indices" in given and "values" in given):
        return {name: named_vector(one) for name, one in given.items()}
    return named_vector({} if given is None else given) if given is not None else {}


def points_of(body: JsonObject) -> list[tuple[Any, Any, JsonObject | None]]:
    """The points of an upsert, in either of its forms, as (id, vectors, payload).

    Raises:
        ApiError: 400, it has neither form.
    """
    if "points" in body:
        return [
            (point_id_of(one.get("id")), vectors_of(one.get("vector")), one.get("payload")) for one in body["points"]
        ]
    if "batch" not in body:
        message = "Format error in JSON body: Invalid PointInsertOperations format"
        raise ApiError(400, message)
    batch = body["batch"]
    ids = [point_id_of(one) for one in batch["ids"]]
    vectors = batch["vectors"]
    if is_object(vectors):
        rows = [{name: named_vector(column[at]) for name, column in vectors.items()} for at in range(len(ids))]
    else:
        rows = [vectors_of(one) for one in vectors]
    payloads = batch.get("payloads") or [None] * len(ids)
    if not len(ids) == len(rows) == len(payloads):
        message = "Validation error in JSON body: [batch: number of ids, vectors and payloads must be equal]"
        raise ApiError(422, message)
    return list(zip(ids, rows, payloads, strict=True))


def _vector_json(vector: Any) -> Any:
    """The engine's vectors of a point as JSON."""
    if is_object(vector):
        return {name: _vector_json(one) for name, one in vector.items()}
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return vector


def shown_of(record: Any) -> JsonObject:
    """Payload and vectors of the engine's record, those that were asked for. Each access converts them anew, so one has to do."""
    shown: JsonObject = {}
    if (payload := record.payload) is not None:
        shown["payload"] = payload
    if (vector := record.vector) is not None:
        shown["vector"] = _vector_json(vector)
    return shown


def vector_choice(given: Any, default: bool) -> Any:  # noqa: FBT001 - the API's own default, passed on
    """`with_vector`: all, none, or some by name."""
    return default if given is None else given


def payload_choice(given: Any, default: bool) -> Any:  # noqa: FBT001 - the API's own default, passed on
    """`with_payload`: all, none, some fields, or all but some."""
    if given is None:
        return default
    if is_object(given):
        if "include" in given:
            return edge.PayloadSelector.Include(given["include"])
        return edge.PayloadSelector.Exclude(given["exclude"])
    return given
