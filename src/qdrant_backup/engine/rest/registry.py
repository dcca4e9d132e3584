"""What survives a restart beside the points themselves: collections, their settings, aliases. One fsynced JSON file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Record", "Registry", "replace_file"]


class Record(msgspec.Struct):
    """A collection as it is kept on disk.

    Attributes:
        directory: its directory below `collections/`; never derived from its name, which may hold anything.
        config: `result.config` of `GET /collections/{c}`.
        schema: payload field to `{"data_type": ..., "params"?: ...}`.
        broken: a restore dropped the old data and could not load the new.
    """

    directory: str
    config: dict[str, Any]
    schema: dict[str, dict[str, Any]] = {}
    broken: bool = False

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self.config["params"]["shard_number"]


class Registry(msgspec.Struct):
    """Everything the server knows of, by name."""

    peer_id: int
    collections: dict[str, Record] = {}
    aliases: dict[str, str] = {}

    @classmethod
    def load(cls, path: Path) -> Registry | None:
        """The registry of that file; None when there is none yet."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None

    def save(self, path: Path) -> None:
        """Put it in the file's place, whole or not at all."""
        replace_file(path, msgspec.json.encode(self))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that is there whole, or as it was before."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
