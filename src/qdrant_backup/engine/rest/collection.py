"""A collection: its shards, its lock, and everything it answers about itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import qdrant_edge as edge

from qdrant_backup.engine.rest.answers import bad_input, not_found, service_error
from qdrant_backup.engine.rest.ring import Ring
from qdrant_backup.engine.rest.schema import schema_entry
from qdrant_backup.engine.rest.shards import Shard, engine_answers

if TYPE_CHECKING:
    from pathlib import Path

    from qdrant_backup.engine.rest.registry import Record
    from qdrant_backup.engine.rest.values import JsonObject

__all__ = ["Collection"]


class Collection:
    """A collection that is being served.

    Attributes:
        lock: held around every use of its shards; a snapshot sees no half of a write.
        scattered: where a point lies is not for the hash ring to say: any shard may have it.
        running: how many snapshots and recoveries are under way, and how many snapshots were made since the start.
    """

    def __init__(self, name: str, record: Record, directory: Path) -> None:
        self.name = name
        self.record = record
        self.directory = directory
        self.lock = threading.RLock()
        self.ring = Ring(record.shards)
        self.shards = [Shard(directory / str(number), record) for number in range(record.shards)]
        self.scattered = False
        self.running = {"snapshots": 0, "recoveries": 0, "created": 0}
        self._operations = 0

    def next_operation(self) -> int:
        """The number of the next change, as answers carry it."""
        self._operations += 1
        return self._operations

    def require_whole(self) -> None:
        """Refuse to answer for data that a failed restore destroyed.

        Raises:
            ApiError: 500.
        """
        if self.record.broken:
            description = "1 of 1 read operations failed:\n  Service internal error: Failed to restore local replica"
            raise service_error(description)

    def open_shards(self) -> list[Any]:
        """The engines of all shards.

        Raises:
            ApiError: 500, one does not load.
        """
        self.require_whole()
        return [shard.engine for shard in self.shards]

    def shard(self, number: int) -> Shard:
        """One shard.

        Raises:
            ApiError: 404, there is no such shard.
        """
        if not 0 <= number < len(self.shards):
            description = f"shard {number} not found"
            raise not_found(description)
        return self.shards[number]

    def find(self, ids: list[Any], payload: Any, vector: Any) -> list[Any]:
        """The records of these points, those that exist, in no order.

        Raises:
            ApiError: as `open_shards`.
        """
        groups: dict[int, list[Any]] = {}
        if self.scattered:
            groups = dict.fromkeys(range(len(self.shards)), ids)
        else:
            for one in ids:
                groups.setdefault(self.ring.shard_of(one), []).append(one)
        with self.lock:
            engines = self.open_shards()
            return [
                record
                for number, group in groups.items()
                for record in engines[number].retrieve(group, payload, vector)
            ]

    def points_count(self) -> int:
        """Points in all shards."""
        return sum(engine.info().points_count for engine in self.open_shards())

    def info(self) -> JsonObject:
        """`result` of `GET /collections/{c}`."""
        with self.lock, engine_answers():
            infos = [engine.info() for engine in self.open_shards()]
        schema: JsonObject = {}
        for field, entry in self.record.schema.items():
            found = [info.payload_schema.get(field) for info in infos]
            schema[field] = {**entry, "points": sum(one.points for one in found if one is not None)}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": sum(info.indexed_vectors_count for info in infos),
            "points_count": sum(info.points_count for info in infos),
            "segments_count": sum(info.segments_count for info in infos),
            "config": self.record.config,
            "payload_schema": schema,
            "update_queue": {"length": 0},
        }

    def cluster(self, peer_id: int) -> JsonObject:
        """`result` of `GET /collections/{c}/cluster`."""
        with self.lock, engine_answers():
            counts = [0 if self.record.broken else shard.engine.info().points_count for shard in self.shards]
        local = [{"shard_id": number, "points_count": count, "state": "Active"} for number, count in enumerate(counts)]
        return {
            "peer_id": peer_id,
            "shard_count": len(self.shards),
            "local_shards": local,
            "remote_shards": [],
            "shard_transfers": [],
        }

    def create_index(self, field: str, given: Any) -> None:
        """Index a payload field in every shard.

        Raises:
            ApiError: 400, there is no such kind of index.
        """
        entry = schema_entry(given)
        with self.lock:
            if self.record.schema.get(field) == entry:
                return
            if field in self.record.schema:
                self.delete_index(field)
            self.open_shards()
            with engine_answers():
                for shard in self.shards:
                    shard.index(field, entry)
            self.record.schema[field] = entry

    def delete_index(self, field: str) -> None:
        """Drop the index of a payload field, if there is one."""
        with self.lock:
            self.record.schema.pop(field, None)
            self.open_shards()
            for shard in self.shards:
                shard.update(edge.UpdateOperation.delete_field_index(field))

    def require_vectors(self, names: set[str]) -> None:
        """Refuse names that no vector of this collection has.

        Raises:
            ApiError: 400.
        """
        params = self.record.config["params"]
        vectors: JsonObject = params["vectors"]
        known = {""} if isinstance(vectors.get("size"), int) else set(vectors)
        known |= (params.get("sparse_vectors") or {}).keys()
        for name in sorted(names - known):
            description = f"Not existing vector name error: {name}"
            raise bad_input(description)

    def close(self) -> None:
        """Flush and let go of the files."""
        with self.lock:
            for shard in self.shards:
                shard.close()
