"""Endpoints of the server itself: who it is, whether it lives, what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.engine.rest.answers import Answer
from qdrant_backup.engine.rest.calls import Call, Endpoint
from qdrant_backup.engine.rest.shards import engine_answers

if TYPE_CHECKING:
    from pathlib import Path

    from qdrant_backup.engine.rest.collection import Collection
    from qdrant_backup.engine.rest.values import JsonObject

__all__ = ["ENDPOINTS", "OPEN_PATHS", "root_body"]

OPEN_PATHS = ("/", "/healthz", "/livez", "/readyz")
"""Answered without a key."""

COMMIT = "db8fa43fcb6aedec1e739487e17a99731b74590a"
_BLOCK = 512
_FLOAT_BYTES = 4


def root_body(call: Call) -> Answer:
    """`GET /`, the only answer without an envelope."""
    version = call.services.version
    body = f'{{"title":"qdrant - vector search engine","version":"{version}","commit":"{COMMIT}"}}'
    return Answer(200, body.encode())


def _text(body: str) -> Answer:
    return Answer(200, body.encode(), "text/plain; charset=utf-8")


def _healthy(_call: Call) -> Answer:
    return _text("healthz check passed")


def _ready(_call: Call) -> Answer:
    return _text("all shards are ready")


def _cluster(_call: Call) -> JsonObject:
    return {"status": "disabled"}


def _allocated(directory: Path, kind: str) -> int:
    files = (path for path in directory.glob(f"segments/*/{kind}/**/*") if path.is_file())
    return sum(getattr(path.stat(), "st_blocks", 0) * _BLOCK for path in files)


def _dense_bytes(config: JsonObject) -> int:
    vectors: JsonObject = config["params"]["vectors"]
    sizes = [vectors] if isinstance(vectors.get("size"), int) else list(vectors.values())
    return sum(one["size"] for one in sizes) * _FLOAT_BYTES


def _shard_telemetry(collection: Collection, number: int, peer_id: int) -> JsonObject:
    shard = collection.shards[number]
    points = 0 if collection.record.broken else shard.engine.info().points_count
    local = {
        "variant_name": "local shard",
        "status": "green",
        "total_optimized_points": 0,
        "vectors_size_bytes": points * _dense_bytes(collection.record.config),
        "payloads_size_bytes": _allocated(shard.directory, "payload_storage"),
        "num_points": points,
        "num_vectors": points,
        "optimizations": {"status": "ok", "optimizations": {"count": 0}},
    }
    states = {str(peer_id): "Active"}
    return {"id": number, "key": None, "local": local, "remote": [], "replicate_states": states}


def _collection_telemetry(collection: Collection, peer_id: int) -> JsonObject:
    with collection.lock, engine_answers():
        shards = [_shard_telemetry(collection, number, peer_id) for number in range(len(collection.shards))]
    return {"id": collection.name, "init_time_ms": 1, "config": collection.record.config, "shards": shards}


def _snapshot_telemetry(collection: Collection) -> JsonObject:
    return {
        "id": collection.name,
        "running_snapshots": collection.running["snapshots"],
        "running_snapshot_recovery": collection.running["recoveries"],
        "total_snapshot_creations": collection.running["created"],
    }


def _telemetry(call: Call) -> JsonObject:
    """From level 1 snapshots are listed, and collections; from level 2 the latter with their shards."""
    storage = call.storage
    level = int(call.query.get("details_level", "0"))
    collections = list(storage.collections.values())
    found: JsonObject = {"number_of_collections": len(collections)}
    if level == 1:
        found["collections"] = [
            {"vectors": 0, "optimizers_status": "ok", "params": one.record.config["params"]} for one in collections
        ]
        found["snapshots"] = []
    if level > 1:
        found["collections"] = [_collection_telemetry(one, storage.peer_id) for one in collections]
        found["snapshots"] = [_snapshot_telemetry(one) for one in collections]
    app = {"name": "qdrant", "version": call.services.version, "startup": f"{storage.started:%Y-%m-%dT%H:%M:%S.%fZ}"}
    cluster = {"enabled": False, "resharding_enabled": False}
    return {"id": storage.process_id, "app": app, "collections": found, "cluster": cluster}


def _metrics(call: Call) -> Answer:
    collections = list(call.storage.collections.values())
    lines = [
        "# HELP app_info information about qdrant server",
        "# TYPE app_info gauge",
        f'app_info{{name="qdrant",version="{call.services.version}"}} 1',
        "# HELP collections_total number of collections",
        "# TYPE collections_total gauge",
        f"collections_total {len(collections)}",
    ]
    for name, key, kind in (
        ("snapshot_creation_running", "snapshots", "gauge"),
        ("snapshot_recovery_running", "recoveries", "gauge"),
        ("snapshot_created_total", "created", "counter"),
    ):
        lines.append(f"# TYPE {name} {kind}")
        lines += [f'{name}{{id="{one.name}"}} {one.running[key]}' for one in collections]
    return _text("\n".join(lines) + "\n")


ENDPOINTS = (
    Endpoint("GET", "/", root_body),
    Endpoint("GET", "/healthz", _healthy),
    Endpoint("GET", "/livez", _healthy),
    Endpoint("GET", "/readyz", _ready),
    Endpoint("GET", "/cluster", _cluster),
    Endpoint("GET", "/telemetry", _telemetry),
    Endpoint("GET", "/metrics", _metrics),
)
