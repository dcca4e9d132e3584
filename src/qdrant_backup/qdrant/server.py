"""A live Qdrant server as typed calls. SIGNATURES FIRST: the bodies follow; operations may be written against this.

    target = Target.parse("http://localhost:26350", api_key=Secret("..."))      # qdrant/target.py
    server = Server(Http(target, clock=SystemClock()))                           # qdrant/http.py

Any call raises `ConnectionFailed` (no answer), `NotQdrant` (something else answers), `AccessDenied` (401, 403),
`ServerRefused` (Qdrant's own error; `.status`). Calls that change something are sent once; when their answer is lost
they raise `Unanswered` (a `ConnectionFailed`): the server may still be at work. Safe to use from several threads.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from qdrant_backup.model import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qdrant_backup.model import (
        Checksum,
        CollectionInfo,
        CollectionName,
        Progress,
        Replica,
        ServerIdentity,
        SnapshotDescription,
    )


@dataclasses.dataclass(frozen=True)
class OptimizerState:
    """What the optimiser did and does. Equal states before and after, with `running == 0`, mean it was quiet."""

    running: int
    completed: tuple[str, ...]


class Download:  # qdrant/download.py
    """One file of the server, as chunks. `with server.download_snapshot(...) as download: for chunk in download: ...`

    Resumes by itself; each byte comes once and in order. `total_bytes` is known from the start where the server says it,
    or from the description; None for a stream. Ends without an error only when the length is right.
    Raises CollectionFailed (broke and could not be resumed), IntegrityFailed (other length than listed).
    """

    total_bytes: int | None
    resumed: int

    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Download: ...
    def __exit__(self, *_: object) -> None: ...


class Server:
    """Typed calls on one server."""

    def __init__(self, http: Any) -> None: ...

    @property
    def url(self) -> str:
        """The base URL, without any secret in it."""
        ...

    # Who is there
    def identity(self) -> ServerIdentity: ...
    def ready(self) -> bool: ...
    def refuse_clusters(self) -> None:
        """Raises Incompatible when the server is one of several peers."""

    # Collections
    def collections(self) -> tuple[CollectionName, ...]:
        """Sorted; only from GET /collections, so an alias is never among them."""
        ...

    def collection(self, name: CollectionName) -> CollectionInfo:
        """Raises CollectionMissing."""
        ...

    def exists(self, name: CollectionName) -> bool:
        """Whether it is listed by GET /collections (an alias is not)."""
        ...

    def count(self, name: CollectionName, *, exact: bool = True) -> int: ...
    def create_collection(self, name: CollectionName, body: dict[str, Any]) -> None: ...
    def update_collection(self, name: CollectionName, body: dict[str, Any]) -> None: ...
    def delete_collection(self, name: CollectionName) -> bool:
        """False when the server says `result: false`, which is not a deletion."""
        ...

    def create_payload_index(self, name: CollectionName, field: str, schema: object) -> None: ...
    def delete_payload_index(self, name: CollectionName, field: str) -> None: ...
    def aliases(self) -> dict[str, CollectionName]:
        """Alias to collection, all of them."""
        ...

    def create_alias(self, alias: str, collection: CollectionName) -> None:
        """Creates or repoints, in one action."""

    def delete_alias(self, alias: str) -> None: ...

    # Points (raw dicts as the server gave them)
    def scroll(
        self,
        name: CollectionName,
        *,
        limit: int = 100,
        offset: int | str | None = None,
        with_payload: bool = True,
        with_vector: bool = False,
    ) -> Iterator[list[dict[str, Any]]]:
        """Page after page."""
        ...

    def retrieve(
        self, name: CollectionName, ids: Sequence[int | str], *, with_payload: bool = True, with_vector: bool = False
    ) -> list[dict[str, Any]]: ...

    # Shards and what the server is doing
    def replicas(self, name: CollectionName) -> tuple[Replica, ...]: ...
    def recoveries_running(self, name: CollectionName) -> int: ...
    def snapshots_running(self, name: CollectionName) -> int: ...
    def optimizer_state(self, name: CollectionName) -> OptimizerState | None:
        """None where the server is too old to say (before 1.16)."""
        ...

    def segment_versions(self, name: CollectionName, shard_ids: Iterable[int]) -> dict[int, dict[str, int]] | None:
        """Shard id to segment id to version; moves with every write. None where the server cannot say."""
        ...

    def estimated_bytes(self, name: CollectionName) -> int: ...
    def wait_for_recovery_end(
        self, name: CollectionName, *, limit_s: float | None = None, progress: Progress = NO_PROGRESS
    ) -> None:
        """Waits until no snapshot recovery runs, on repeated polls. Raises Unanswered when `limit_s` is over."""

    # Snapshots
    def snapshots(self, name: CollectionName) -> tuple[SnapshotDescription, ...]: ...
    def create_snapshot(self, name: CollectionName, *, progress: Progress = NO_PROGRESS) -> SnapshotDescription:
        """Creates exactly one; a lost answer is looked up, never repeated."""
        ...

    def delete_snapshot(self, name: CollectionName, snapshot: str) -> bool:
        """True when it is gone (404 too); False when the server says `result: false`."""
        ...

    def download_snapshot(self, name: CollectionName, snapshot: SnapshotDescription) -> Download: ...
    def stream_shard_snapshot(self, name: CollectionName, shard_id: int) -> Download:
        """Not resumable, no length: only the archive's end proves that it is whole."""
        ...

    def upload_snapshot(
        self,
        name: CollectionName,
        *,
        snapshot_name: str,
        chunks: Callable[[], Iterable[bytes]],
        size_bytes: int,
        checksum: Checksum,
        priority: str = "snapshot",
    ) -> None:
        """Uploads and recovers in one call. Raises Unanswered when the body was sent and no answer came."""


def probe(server: Server, names: Sequence[CollectionName], needs: Iterable[str]) -> None:
    """qdrant/rights.py. `needs`: any of "read", "snapshot", "restore", "aliases". Touches nothing. Raises AccessDenied."""
