"""The demo's AI Memory as points: the real schema, and vectors that need no model. Pure, but for `fill` and `forget`.

The schema is AI Memory's own (version 2.2): one unnamed cosine vector of 768 dimensions with int8 quantization, sparse
`bm25` with IDF, eleven payload indexes with `group_id` as tenant. The vectors are hashed words: near texts share words,
which is all that a demonstration of search has to show.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from qdrant_backup.model import CollectionName
from qdrant_backup.operations.demo.texts import MEMORIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdrant_backup.qdrant.server import Server

__all__ = ["ALIAS", "COLLECTION_BODY", "INDEXES", "LOST", "fill", "forget", "points_of"]

ALIAS = ("what-we-agreed", "conventions")
LOST = "shop-api"
"""The project whose decisions the demo deletes."""

_SIZE = 768
_SPACE = uuid.UUID("9b3f4a52-2f0e-5d5c-9d0c-8a7d9b6f2c11")
_FIRST = datetime(2026, 1, 12, 8, 30, tzinfo=timezone.utc)

COLLECTION_BODY: dict[str, Any] = {
    "vectors": {"size": _SIZE, "distance": "Cosine"},
    "sparse_vectors": {"bm25": {"modifier": "idf"}},
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "on_disk": True},
    "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
}

INDEXES: dict[str, Any] = {
    "group_id": {"type": "keyword", "is_tenant": True},
    "type": "keyword",
    "source_hook": "keyword",
    "content_hash": {"type": "keyword"},
    "content": {"type": "text", "tokenizer": "word", "min_token_len": 2, "max_token_len": 20},
    "timestamp": "datetime",
    "decay_score": "float",
    "freshness_status": "keyword",
    "source_authority": "float",
    "is_current": "bool",
    "version": "integer",
}


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z0-9_#.]+", text.lower()))


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")


def dense(text: str) -> list[float]:
    """A unit vector of the text's words, each in the dimension its hash names."""
    vector = [0.0] * _SIZE
    for word, count in _words(text).items():
        number = _hash(word)
        vector[number % _SIZE] += (1 if number >> 32 & 1 else -1) * (1 + math.log(count))
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def sparse(text: str) -> dict[str, list[Any]]:
    """The text's words as a sparse vector of their counts."""
    entries = {_hash(word) % 0x7FFFFFFF: float(count) for word, count in _words(text).items()}
    return {"indices": list(entries), "values": list(entries.values())}


def points_of(collection: str) -> list[dict[str, Any]]:
    """The collection's memories as points; the same ones every time."""
    points: list[dict[str, Any]] = []
    for number, (kind, project, text) in enumerate(MEMORIES[collection]):
        moment = _FIRST + timedelta(days=3 * number, hours=len(collection))
        payload = {
            "content": text,
            "type": kind,
            "group_id": project,
            "source_hook": "session_stop",
            "content_hash": hashlib.sha256(text.encode()).hexdigest(),
            "timestamp": moment.isoformat(),
            "decay_score": round(1.0 - 0.05 * number, 2),
            "freshness_status": "fresh" if number else "verified",
            "source_authority": 0.8,
            "is_current": True,
            "version": 1,
        }
        point_id = str(uuid.uuid5(_SPACE, f"{collection}/{number}"))
        points.append({"id": point_id, "vector": {"": dense(text), "bm25": sparse(text)}, "payload": payload})
    return points


def fill(server: Server) -> int:
    """Create the five collections with all they need; how many memories they hold."""
    total = 0
    for collection in MEMORIES:
        name = CollectionName(collection)
        server.create_collection(name, COLLECTION_BODY)
        for field, schema in INDEXES.items():
            server.create_payload_index(name, field, schema)
        points = points_of(collection)
        server.upsert(name, points)
        total += len(points)
    server.create_alias(ALIAS[0], CollectionName(ALIAS[1]))
    return total


def forget(server: Server) -> Sequence[str]:
    """What a faulty agent did: a project's discussions are deleted; their ids."""
    doomed = [point["id"] for point in points_of("discussions") if point["payload"]["group_id"] == LOST]
    server.delete_points(CollectionName("discussions"), doomed)
    return doomed
