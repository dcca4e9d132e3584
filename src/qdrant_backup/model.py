"""The values that rooms hand to each other. No behaviour beyond what a value knows of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NewType, Protocol

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "NO_PROGRESS",
    "BackupId",
    "Checksum",
    "CollectionInfo",
    "CollectionName",
    "DigestSummary",
    "NoProgress",
    "Progress",
    "Replica",
    "ServerIdentity",
    "SnapshotDescription",
    "human_size",
]

BackupId = NewType("BackupId", str)
"""The name of a backup's directory: `2026-02-03_143052`, or `..._143052-2` for a second one in that second."""

CollectionName = NewType("CollectionName", str)
"""A collection's name as the server spells it. Never a file name: `layout.py` makes those."""

Checksum = NewType("Checksum", str)
"""A SHA-256 as 64 lower-case hexadecimal digits, the form Qdrant uses."""


class ServerIdentity(msgspec.Struct, frozen=True):
    """Who answered `GET /`, and (where the key may ask) which process that was.

    Attributes:
        version: such as `1.18.3`.
        commit: the source commit it was built from; empty when it does not say.
        process_id: telemetry's random id of the running process; empty when the key may not see it.
        peer_id: the peer's number from `GET /cluster`, 0 in standalone mode; stays the same across restarts.
        peers: the URIs of all peers; empty in standalone mode.
        scoped: the key is for some collections only. Such a key is shown no other collection, no alias and no peer, and
            the server says nothing of what it leaves out (measured on 1.18.3).
    """

    version: str
    commit: str = ""
    process_id: str = ""
    peer_id: int = 0
    peers: tuple[str, ...] = ()
    scoped: bool = False


class Replica(msgspec.Struct, frozen=True):
    """One shard as this peer or another holds it (`GET /collections/{c}/cluster`)."""

    shard_id: int
    state: str
    peer_id: int
    local: bool
    key: str | int | None = None


class CollectionInfo(msgspec.Struct, frozen=True):
    """`GET /collections/{c}`, as far as we judge by it. `config` and `payload_schema` are kept as the server gave them."""

    name: CollectionName
    status: str
    points_count: int
    config: dict[str, Any]
    payload_schema: dict[str, Any]


class SnapshotDescription(msgspec.Struct, frozen=True):
    """A snapshot as the server lists it. `checksum` is empty where the server has none (S3 storage)."""

    name: str
    size_bytes: int
    creation_time: str = ""
    checksum: Checksum = Checksum("")


class DigestSummary(msgspec.Struct, frozen=True):
    """What a digest says in one line: equal `content` means equal ids, payloads and vectors.

    Attributes:
        points: how many points the archive holds.
        vector_names: the vector names, sorted; the unnamed vector is the empty string.
        content: BLAKE3 over the digest's records, 64 hexadecimal digits.
    """

    points: int
    vector_names: tuple[str, ...]
    content: str


class Progress(Protocol):
    """Where a long operation says how far it is. Operations report, the console draws."""

    def begin(self, task: str, total_bytes: int | None) -> None:
        """A task starts; `total_bytes` is None where nobody can know."""
        ...

    def advance(self, size_bytes: int) -> None:
        """So many more bytes of the current task are done."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line: a wait, a retry, a change of method and why."""
        ...

    def end(self) -> None:
        """The current task is over, however it went."""
        ...


class NoProgress:
    """Reports to nobody."""

    def begin(self, task: str, total_bytes: int | None) -> None:
        """Say nothing."""

    def advance(self, size_bytes: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""


NO_PROGRESS: Progress = NoProgress()

_UNITS = ("B", "KB", "MB", "GB", "TB")
_STEP = 1024.0


def human_size(size_bytes: float) -> str:
    """A size as the guide writes it: `256.0 KB`, `1.2 MB`, `50.2 GB`, in steps of 1024."""
    size = float(size_bytes)
    for unit in _UNITS[:-1]:
        if size < _STEP:
            return f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} {_UNITS[-1]}"


def utc_text(moment: datetime) -> str:
    """An aware time as ISO 8601 in UTC, the only form that JSON output and manifests carry."""
    return moment.isoformat()
