"""Stored snapshots: their directory, their names and checksums, and how one is made.

A snapshot holds what the server's own do (lib/collection/src/collection/snapshots.rs at v1.18.3): nested segment archives,
a write-ahead log, and the collection's files at the end. The log is the empty one the server writes into shard
snapshots: everything is flushed into the segments before they are archived, and an operation number above theirs must
follow, or writes after a restore would be taken for old ones and dropped.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from qdrant_backup.engine.rest.answers import bad_request, not_found
from qdrant_backup.engine.rest.tarring import BytesMember, FileMember, NestedMember, chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qdrant_backup.engine.rest.collection import Collection
    from qdrant_backup.engine.rest.shards import Shard
    from qdrant_backup.engine.rest.storage import Storage
    from qdrant_backup.engine.rest.tarring import Member
    from qdrant_backup.engine.rest.values import JsonObject

__all__ = ["Snapshots", "collection_members", "empty_log", "shard_members"]


COLLECTION_STAMP = b"0.4.2"
"""`version.info` of a collection: a crate's version, frozen from v1.14 to v1.19."""

_PLAIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,120}$")
_json = msgspec.json.Encoder()


def empty_log(directory: Path, next_operation: int, capacity: int) -> Path:
    """A write-ahead log's one file, empty, that says which operation number comes next; sparse."""
    path = directory / f"closed-{next_operation}"
    with path.open("wb") as file:
        file.write(b"wal\0" + secrets.token_bytes(4))
        file.truncate(capacity)
    return path


def shard_members(shard: Shard, log: Path, prefix: str, peer_id: int, *, nested: bool) -> list[Member]:
    """The members of one shard; segments as archives of their own when `nested`, else as directories.

    The shard's collection is locked, and stays so until the archive is written.
    """
    engine = shard.engine
    engine.flush()
    manifest: JsonObject = engine.snapshot_manifest()
    members: list[Member] = []
    for segment in sorted(manifest):
        members += _segment_members(shard.directory / "segments" / segment, manifest[segment], prefix, nested=nested)
    version = max((entry["segment_version"] or 0 for entry in manifest.values()), default=0)
    capacity = 32 << 20
    members.append(FileMember.of(f"{prefix}wal/closed-{version + 1}", empty_log(log, version + 1, capacity)))
    state = {"is_local": True, "this_peer_id": peer_id, "peers": {str(peer_id): "Active"}}
    members.append(BytesMember(f"{prefix}replica_state.json", _json.encode(state)))
    members.append(BytesMember(f"{prefix}shard_config.json", b'{"type":"ReplicaSet"}'))
    return members


def _segment_members(directory: Path, manifest: JsonObject, prefix: str, *, nested: bool) -> Iterator[Member]:
    names = [*sorted(manifest["file_versions"]), "segment.json", "version.info"]
    files = [name for name in names if (directory / name).is_file()]
    if nested:
        inner = tuple(FileMember.of(f"snapshot/files/{name}", directory / name) for name in files)
        yield NestedMember(f"{prefix}segments/{directory.name}.tar", inner)
    else:
        for name in files:
            yield FileMember.of(f"{prefix}segments/{directory.name}/files/{name}", directory / name)


def collection_members(collection: Collection, log: Path, peer_id: int) -> list[Member]:
    """The members of a collection's snapshot. The collection is locked, and stays so until the archive is written."""
    members: list[Member] = []
    for number, shard in enumerate(collection.shards):
        directory = log / str(number)
        directory.mkdir()
        members += shard_members(shard, directory, f"{number}/", peer_id, nested=True)
    schema = {field: entry.get("params", entry["data_type"]) for field, entry in collection.record.schema.items()}
    members.append(BytesMember("version.info", COLLECTION_STAMP))
    members.append(BytesMember("config.json", _json.encode({**collection.record.config, "uuid": None})))
    members.append(BytesMember("shard_key_mapping.json", b"[]"))
    members.append(BytesMember("payload_index.json", _json.encode({"schema": schema})))
    return members


class Snapshots:
    """The stored snapshots of a server."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def directory(self, collection: str, shard: int | None = None) -> Path:
        """Where the snapshots of a collection, or of one of its shards, are stored."""
        name = collection if _PLAIN.match(collection) else "~" + hashlib.sha256(collection.encode()).hexdigest()
        path = self._storage.directory / "snapshots" / name
        return path if shard is None else path / "shards" / str(shard)

    def name_now(self, collection: str, shard: int | None = None) -> str:
        """The name of a snapshot made now; two within a second share it, as on the server."""
        middle = f"{self._storage.peer_id}" if shard is None else f"shard-{shard}"
        return f"{collection}-{middle}-{self._storage.clock.now():%Y-%m-%d-%H-%M-%S}.snapshot"

    def path(self, name: str, collection: str, shard: int | None = None) -> Path:
        """A stored snapshot's file.

        Raises:
            ApiError: 404, or 400 for a name that is no plain file name.
        """
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            description = f"Invalid snapshot name: {name}"
            raise bad_request(description)
        path = self.directory(collection, shard) / name
        if not path.is_file():
            # The server itself names the path for shards, and the bare name for collections.
            description = f"Snapshot {name} not found" if shard is None else f'Snapshot "{path}" not found'
            raise not_found(description)
        return path

    def listed(self, collection: str, shard: int | None = None) -> list[JsonObject]:
        """Descriptions of the stored snapshots."""
        directory = self.directory(collection, shard)
        if not directory.is_dir():
            return []
        return [self.described(path) for path in sorted(directory.iterdir()) if _is_snapshot(path)]

    def described(self, path: Path) -> JsonObject:
        """One description, with the checksum where there is one."""
        status = path.stat()
        made = datetime.fromtimestamp(status.st_mtime, timezone.utc)
        beside = path.with_name(path.name + ".checksum")
        described: JsonObject = {
            "name": path.name,
            "creation_time": f"{made:%Y-%m-%dT%H:%M:%S}",
            "size": status.st_size,
        }
        if beside.is_file():
            described["checksum"] = beside.read_text(encoding="ascii")
        return described

    def delete(self, name: str, collection: str, shard: int | None = None) -> None:
        """Delete a stored snapshot and its checksum.

        Raises:
            ApiError: 404.
        """
        path = self.path(name, collection, shard)
        path.unlink()
        path.with_name(path.name + ".checksum").unlink(missing_ok=True)

    def keep(self, members: Sequence[Member], name: str, collection: str, shard: int | None = None) -> JsonObject:
        """Write an archive and store it with its checksum; there under its name only when whole."""
        directory = self.directory(collection, shard)
        directory.mkdir(parents=True, exist_ok=True)
        work = self._storage.temporary / secrets.token_hex(8)
        digest = hashlib.sha256()
        with work.open("wb") as file:
            for chunk in chunks_of(members):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        path = directory / name
        path.with_name(name + ".checksum").write_text(digest.hexdigest(), encoding="ascii")
        work.replace(path)
        return self.described(path)


def _is_snapshot(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".checksum", ".new")
