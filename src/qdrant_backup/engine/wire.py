"""What the engine's child process and its parent say to each other.

The parent writes one `Job` as a line of JSON, then the archive as frames: four bytes of size, little-endian, and so many
bytes; a size of 0 ends it. It keeps the pipe open until it has its answer, so that the child sees by the end of the pipe
that its parent is gone. The child writes lines of JSON: any number of `Alive`, and one `Done` or `Failed`.

The child has read hostile input with a large native library. Nothing it says is evaluated: plain JSON of known shape.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec

from qdrant_backup.archive.report import ArchiveReport, SegmentReport, ShardReport

__all__ = [
    "END",
    "FRAME_HEAD_BYTES",
    "LARGEST_FRAME_BYTES",
    "PID",
    "Alive",
    "Answer",
    "Done",
    "Failed",
    "FailureKind",
    "Job",
    "Limits",
    "ServeJob",
    "Served",
    "Serving",
    "ServingAnswer",
    "frame_head",
    "report_from",
]

FRAME_HEAD_BYTES = 4
LARGEST_FRAME_BYTES = 1 << 20

PID = struct.Struct("<q")
"""What the nursery says of a child first: its process id."""
END = struct.Struct("<i")
"""And at last: its exit code, or a signal's number as a negative one."""

FailureKind = Literal["damaged", "unreadable", "space", "input-output", "bug", "port"]


class Limits(msgspec.Struct, frozen=True):
    """What the child may take.

    Attributes:
        headroom_bytes: address space beyond the files that the engine maps.
        per_core_bytes: address space for each core: its threads' stacks and allocation arenas.
        silence_s: how long it may go without a sign of life.
        slowest_bytes_per_s: how slow opening an archive may be: one call of the engine, during which there is none.
        halve_from_bytes: from which size of its files on a single shard is read by two processes.
    """

    headroom_bytes: int = 1 << 30
    per_core_bytes: int = 64 << 20
    silence_s: float = 300.0
    slowest_bytes_per_s: int = 4_000_000
    halve_from_bytes: int = 32 << 20

    def quiet_s(self, archive_bytes: int) -> float:
        """How long an archive of that size may keep the child silent."""
        return self.silence_s + archive_bytes / self.slowest_bytes_per_s


class Job(msgspec.Struct, frozen=True):
    """What the child is to do.

    Attributes:
        name: what to call the archive in messages.
        scratch: an empty directory for what it unpacks; the child removes it when its parent is gone.
        target: the empty file that becomes the digest.
        limits: what it may take.
        with_indexes: open payload indexes too; without them opening is faster and proves less.
    """

    name: str
    scratch: str
    target: str
    limits: Limits
    with_indexes: bool = True


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """Work goes on."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The digest stands at its target, fsynced. `report` is an `ArchiveReport` as plain values.

    `not_finite` is vector name to points whose vector has NaN or an infinity in it.
    """

    points: int
    vector_names: tuple[str, ...]
    content: str
    report: dict[str, Any]
    not_finite: dict[str, int] = {}


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It could not be done: the archive is damaged, the engine cannot open it, the disk is full or fails, or a bug."""

    kind: FailureKind
    what: str
    why: str
    collection: str = ""


Answer = Alive | Done | Failed


class Served(msgspec.Struct, frozen=True):
    """A collection that a serving child opens.

    Attributes:
        name: under which it is served.
        directory: what its archive was unpacked into.
        shards: the directories below it that hold shards.
        config: the collection's configuration, of its archive.
        schema: payload field to its index's kind or parameters.
        keyed: points lie in shards by keys of the user's, so that no hash says where.
    """

    name: str
    directory: str
    shards: list[str]
    config: dict[str, Any]
    schema: dict[str, Any]
    keyed: bool


class ServeJob(msgspec.Struct, frozen=True):
    """What a serving child is to do; the only line it gets. The end of the pipe says that its parent is gone.

    Attributes:
        data: an empty directory for what it writes beside the collections.
        apparent_bytes: the sizes of all files it will map.
        deadline_s: how long opening may take.
        api_key: may read; None lets everybody on this machine read.
    """

    data: str
    collections: list[Served]
    aliases: dict[str, str]
    host: str
    port: int
    api_key: str | None
    apparent_bytes: int
    deadline_s: float
    limits: Limits


class Serving(msgspec.Struct, frozen=True, tag="serving"):
    """Everything is open, and connections are accepted."""

    port: int


ServingAnswer = Serving | Failed


def frame_head(size_bytes: int) -> bytes:
    """The four bytes in front of a frame."""
    return size_bytes.to_bytes(FRAME_HEAD_BYTES, "little")


def report_from(plain: dict[str, Any]) -> ArchiveReport:
    """An `ArchiveReport` from what `msgspec.to_builtins` made of one."""
    values: dict[str, Any] = {**plain}
    values["shards"] = tuple(_shard_from(shard) for shard in plain["shards"])
    values["shard_keys"] = tuple((key, tuple(numbers)) for key, numbers in plain["shard_keys"])
    values["unknown"] = tuple(plain["unknown"])
    return ArchiveReport(**values)


def _shard_from(plain: dict[str, Any]) -> ShardReport:
    values: dict[str, Any] = {**plain}
    values["segments"] = tuple(SegmentReport(**segment) for segment in plain["segments"])
    return ShardReport(**values)
