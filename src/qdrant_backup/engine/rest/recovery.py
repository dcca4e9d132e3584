"""Restoring: from an archive that lies on disk to a collection or a shard that serves it.

The order is the server's (lib/storage/src/content_manager/snapshots/recover.rs at v1.18.3): unpack and check beside the old
data, then drop the old data, then load the new. What fails in between leaves the collection broken, as it does there.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from qdrant_backup.engine.rest.answers import ApiError, bad_input, bad_request, service_error
from qdrant_backup.engine.rest.schema import schema_entry
from qdrant_backup.engine.rest.unpacking import unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qdrant_backup.engine.rest.collection import Collection
    from qdrant_backup.engine.rest.storage import Storage
    from qdrant_backup.engine.rest.values import JsonObject

__all__ = ["Recovery", "Spoil", "require_checksum", "sha256_of"]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def require_checksum(path: Path, expected: str | None) -> None:
    """Refuse an archive that is not the one the caller meant.

    Raises:
        ApiError: 400.
    """
    if expected is None:
        return
    actual = sha256_of(path)
    if actual != expected.strip().lower():
        message = f"Checksum mismatch: expected {actual}, actual {expected}"
        raise ApiError(400, message)


Spoil = Callable[[str, "Collection", "Mapping[int, Path]"], None]
"""A scripted fault: called with the stage (`before_drop`, `after_drop`, `loaded`), the collection, and the unpacked shards."""


def _spoil_nothing(_stage: str, _target: Collection, _sources: Mapping[int, Path]) -> None:
    """A restore that nothing goes wrong with."""


class Recovery:
    """Restores into a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def collection(self, name: str, archive: Path, spoil: Spoil | None = None) -> None:
        """Restore a collection's snapshot under that name; an alias means the collection behind it.

        Raises:
            ApiError: 400, it does not fit; 500, it is damaged, and where that showed late the old data is gone.
        """
        work = self._storage.temporary / secrets.token_hex(8)
        try:
            unpack(archive, work)
            config, schema = _described(work)
            target = self._storage.collections.get(self._storage.resolve(name))
            if target is None:
                target = self._storage.add(name, config, schema)
            target.running["recoveries"] += 1
            try:
                _require_fitting(target, config)
                self._install_all(target, work, schema, spoil or _spoil_nothing)
            finally:
                target.running["recoveries"] -= 1
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def shard(self, target: Collection, number: int, archive: Path, spoil: Spoil | None = None) -> None:
        """Restore a shard's snapshot into a shard of an existing collection.

        Raises:
            ApiError: as `collection`.
        """
        target.shard(number)
        work = self._storage.temporary / secrets.token_hex(8)
        target.running["recoveries"] += 1
        try:
            unpack(archive, work)
            self._install(target, {number: work}, {}, spoil or _spoil_nothing)
        finally:
            target.running["recoveries"] -= 1
            shutil.rmtree(work, ignore_errors=True)

    def _install_all(self, target: Collection, work: Path, schema: JsonObject, spoil: Spoil) -> None:
        sources: dict[int, Path] = {}
        for number in range(len(target.shards)):
            source = work / str(number)
            if not source.is_dir():
                description = f"Can't find shard {number} in snapshot: No shard found: {source.name}"
                raise service_error(description)
            sources[number] = source
        self._install(target, sources, schema, spoil)

    def _install(self, target: Collection, sources: dict[int, Path], schema: JsonObject, spoil: Spoil) -> None:
        for number, source in sources.items():
            _require_shard(source, number)
        spoil("before_drop", target, sources)
        with target.lock:
            target.record.broken = True
            self._storage.save()
            for number in sources:
                target.shards[number].close()
                shutil.rmtree(target.shards[number].directory, ignore_errors=True)
            spoil("after_drop", target, sources)
            target.directory.mkdir(exist_ok=True)
            for number, source in sources.items():
                source.rename(target.shards[number].directory)
            for number in sources:
                _ = target.shards[number].engine
            # The server lists indexes that came with the segments too, beside the collection's own.
            for field, entry in schema.items():
                target.record.schema.setdefault(field, entry)
            target.record.broken = False
            self._storage.save()
            spoil("loaded", target, sources)


def _described(work: Path) -> tuple[JsonObject, JsonObject]:
    """The configuration and the payload indexes that a snapshot describes."""
    try:
        config: JsonObject = msgspec.json.decode((work / "config.json").read_bytes())
        listed: JsonObject = {}
        if (work / "payload_index.json").is_file():
            listed = msgspec.json.decode((work / "payload_index.json").read_bytes())["schema"]
        config.pop("uuid", None)
        _ = config["params"]["vectors"], config["params"]["shard_number"]
    except (OSError, KeyError, TypeError, msgspec.DecodeError) as error:
        description = f"Failed to read collection config: {error}"
        raise service_error(description) from error
    return config, {field: schema_entry(given) for field, given in listed.items()}


def _require_fitting(target: Collection, config: JsonObject) -> None:
    mine, theirs = target.record.config["params"], config["params"]
    for key, label in (("vectors", "vectors"), ("shard_number", "shard number")):
        if mine[key] != theirs[key]:
            description = (
                f"Snapshot is not compatible with existing collection: Collection {label}: {mine[key]} "
                f"Snapshot {label.capitalize()}: {theirs[key]}"
            )
            raise bad_input(description)


def _require_shard(source: Path, number: int) -> None:
    """What the server checks before it drops the old data, and no more."""
    if not (source / "replica_state.json").is_file():
        description = f"Can't recover shard {number}: snapshot has no local data"
        raise service_error(description)
    if not (source / "wal").is_dir() or not (source / "segments").is_dir():
        description = "Invalid snapshot"
        raise bad_request(description)
