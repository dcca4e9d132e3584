"""A collection's configuration as the server completes it, from what a client asked for.

Source: lib/collection/src/config.rs, lib/segment/src/types.rs, lib/collection/src/optimizers_builder.rs, config/config.yaml
at v1.18.3. The stored form is `GET /collections/{c}`'s `result.config`, which is also a snapshot's `config.json`.
"""

from __future__ import annotations

from typing import Any

from qdrant_backup.engine.rest.answers import ApiError, unprocessable
from qdrant_backup.engine.rest.values import JsonObject, is_object, object_in

__all__ = ["changed_config", "check_name", "complete_config"]


HNSW: JsonObject = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
OPTIMIZERS: JsonObject = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
    "prevent_unoptimized": None,
}
WAL: JsonObject = {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}
VECTOR_KEYS = ("size", "distance", "hnsw_config", "quantization_config", "on_disk", "datatype", "multivector_config")
SPARSE_KEYS = ("index", "modifier")
DISTANCES = ("Cosine", "Euclid", "Dot", "Manhattan")
LONGEST_NAME = 255
LARGEST_VECTOR = 65536
_FORBIDDEN = '<>:"/\\|?*\0\x1f'


def check_name(name: str) -> None:
    """Refuse a collection's name that the server refuses.

    Raises:
        ApiError: 422.
    """
    if not 1 <= len(name) <= LONGEST_NAME:
        what = f'collection_name: value "{name}" invalid, must be from 1 to {LONGEST_NAME} characters'
        raise unprocessable("path parameters", what)
    found = next((character for character in _FORBIDDEN if character in name), None)
    if found is not None:
        what = f'collection_name: collection name cannot contain "{found}" char'
        raise unprocessable("path parameters", what)


def _merged(defaults: JsonObject, given: Any) -> JsonObject:
    """The defaults, with what was given in their place; null means "not given"."""
    items = object_in({"given": given}, "given").items()
    return {**defaults, **{key: value for key, value in items if value is not None}}


def _picked(given: JsonObject, keys: tuple[str, ...]) -> JsonObject:
    return {key: given[key] for key in keys if given.get(key) is not None}


def _vector(given: Any) -> JsonObject:
    fits = is_object(given) and given.get("distance") in DISTANCES
    size = given.get("size") if is_object(given) else None
    if not fits or not isinstance(size, int) or size < 1:
        message = "Format error in JSON body: data did not match any variant of untagged enum VectorsConfig"
        raise ApiError(400, message)
    if size > LARGEST_VECTOR:
        raise unprocessable("JSON body", f"vectors.size: value {size} invalid, must be from 1 to {LARGEST_VECTOR}")
    return _picked(given, VECTOR_KEYS)


def _vectors(given: Any) -> JsonObject:
    if given is None:
        return {}
    if not is_object(given) or ("size" in given and not is_object(given["size"])):
        return _vector(given)
    return {name: _vector(one) for name, one in given.items()}


def complete_config(request: JsonObject) -> JsonObject:
    """The configuration of a collection created with this `PUT /collections/{c}` body.

    Raises:
        ApiError: 400 or 422, the body makes no sense.
    """
    params: JsonObject = {
        "vectors": _vectors(request.get("vectors")),
        "shard_number": request.get("shard_number") or 1,
        "replication_factor": request.get("replication_factor") or 1,
        "write_consistency_factor": request.get("write_consistency_factor") or 1,
        "on_disk_payload": True if request.get("on_disk_payload") is None else request["on_disk_payload"],
    }
    if request.get("sharding_method") not in (None, "auto"):
        message = "Bad request: Custom sharding requires cluster mode"
        raise ApiError(400, message)
    if request.get("sharding_method"):
        params["sharding_method"] = request["sharding_method"]
    if request.get("sparse_vectors"):
        sparse: JsonObject = request["sparse_vectors"]
        params["sparse_vectors"] = {name: _picked(one or {}, SPARSE_KEYS) for name, one in sparse.items()}
    config: JsonObject = {
        "params": params,
        "hnsw_config": _merged(HNSW, request.get("hnsw_config")),
        "optimizer_config": _merged(OPTIMIZERS, request.get("optimizers_config")),
        "wal_config": _merged(WAL, request.get("wal_config")),
        "quantization_config": request.get("quantization_config"),
    }
    if request.get("strict_mode_config"):
        config["strict_mode_config"] = _merged({}, request["strict_mode_config"])
    if request.get("metadata"):
        config["metadata"] = request["metadata"]
    return config


def changed_config(config: JsonObject, request: JsonObject) -> JsonObject:
    """The configuration after a `PATCH /collections/{c}` with this body."""
    changed = dict(config)
    pairs = (("hnsw_config", "hnsw_config"), ("optimizer_config", "optimizers_config"))
    for ours, theirs in pairs:
        changed[ours] = _merged(config[ours], request.get(theirs))
    changed["params"] = _changed_params(config["params"], request)
    quantization = request.get("quantization_config")
    if quantization is not None:
        changed["quantization_config"] = None if quantization == "Disabled" else quantization
    if request.get("strict_mode_config"):
        changed["strict_mode_config"] = _merged(config.get("strict_mode_config") or {}, request["strict_mode_config"])
    if request.get("metadata") is not None:
        merged = {**config.get("metadata", {}), **request["metadata"]}
        changed["metadata"] = {key: value for key, value in merged.items() if value is not None}
    return changed


def _changed_params(params: JsonObject, request: JsonObject) -> JsonObject:
    changed = _merged(params, request.get("params"))
    vectors = dict(changed["vectors"])
    for name, change in object_in(request, "vectors").items():
        single = name == "" and "size" in vectors
        if not single and name not in vectors:
            message = f"Wrong input: Not existing vector name error: {name}"
            raise ApiError(400, message)
        if single:
            vectors = _merged(vectors, change)
        else:
            vectors[name] = _merged(vectors[name], change)
    changed["vectors"] = vectors
    for name, change in object_in(request, "sparse_vectors").items():
        sparse = object_in(changed, "sparse_vectors")
        if name not in sparse:
            message = f"Wrong input: Not existing vector name error: {name}"
            raise ApiError(400, message)
        changed["sparse_vectors"] = {**sparse, name: _merged(sparse[name], change)}
    return changed
