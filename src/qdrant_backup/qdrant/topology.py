"""Who the server is, where shards live, and what it is doing at the moment."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

import msgspec

from qdrant_backup.errors import AccessDenied, ConnectionFailed, Incompatible, NotQdrant, ServerRefused
from qdrant_backup.model import NO_PROGRESS, Replica, ServerIdentity
from qdrant_backup.qdrant.base import Calls
from qdrant_backup.qdrant.calls import LARGE_BYTES, Call, collection_path
from qdrant_backup.qdrant.failures import Unanswered, could_not

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qdrant_backup.model import CollectionName, Progress

__all__ = ["OptimizerState", "TopologyCalls"]

T = TypeVar("T")

_TOO_OLD = frozenset({400, 404, 405})
_FIRST_LOOK_S = 30.0
_WAL_BYTES = 64 * 1024 * 1024
_SNAPSHOT_FACTOR = 1.2
_NO_CLUSTERS = "clusters are not supported yet; nothing was backed up or changed"
_HALF_IS_NONE = "Half a cluster's data is no backup: use Qdrant's own tools until a later version can do this."
QUIET_POLLS = 3
POLL_S = 1.0


@dataclasses.dataclass(frozen=True)
class OptimizerState:
    """What a collection's optimiser does and has done (`GET /collections/{c}/optimizations?with=completed`).

    Attributes:
        running: optimisations at work now.
        completed: the ids of those that ended, sorted.
    """

    running: int
    completed: tuple[str, ...]

    def quiet_since(self, before: OptimizerState) -> bool:
        """Whether nothing ran at both looks and nothing ended in between."""
        return self.running == 0 and before.running == 0 and self.completed == before.completed


class _Hello(msgspec.Struct):
    title: str
    version: str
    commit: str | None = None


class _Peer(msgspec.Struct):
    uri: str


class _Cluster(msgspec.Struct):
    status: str
    peer_id: int = 0
    peers: dict[str, _Peer] = {}


class _LocalShard(msgspec.Struct):
    shard_id: int
    state: str
    shard_key: str | int | None = None


class _RemoteShard(_LocalShard, kw_only=True):
    peer_id: int


class _Shards(msgspec.Struct):
    peer_id: int
    local_shards: list[_LocalShard]
    remote_shards: list[_RemoteShard]


class _Tasks(msgspec.Struct):
    id: str
    running_snapshots: int | None = None
    running_snapshot_recovery: int | None = None


class _LocalSizes(msgspec.Struct):
    vectors_size_bytes: int | None = None
    payloads_size_bytes: int | None = None


class _ShardSizes(msgspec.Struct):
    local: _LocalSizes | None = None


class _CollectionSizes(msgspec.Struct):
    id: str = ""
    shards: list[_ShardSizes] | None = None


class _CollectionsTelemetry(msgspec.Struct):
    snapshots: list[_Tasks] | None = None
    collections: list[_CollectionSizes] | None = None


class _Telemetry(msgspec.Struct):
    id: str = ""
    collections: _CollectionsTelemetry | None = None


class _Optimization(msgspec.Struct):
    uuid: str


class _Optimizations(msgspec.Struct):
    running: list[_Optimization]
    completed: list[_Optimization] | None = None


class _SegmentManifest(msgspec.Struct):
    segment_version: int


class TopologyCalls(Calls):
    """Identity, peers, shards, telemetry."""

    def identity(self) -> ServerIdentity:
        """Who answers, with the process id and the peers where the key may see them.

        The first call of a run: it waits 30 s at most, and raises NotQdrant for whatever is not Qdrant.
        """
        hello = self._hello()
        telemetry = self._where_permitted(Call.get("/telemetry?details_level=0", "read the telemetry"), _Telemetry)
        cluster, scoped = self._cluster()
        peers = sorted(peer.uri for peer in cluster.peers.values()) if cluster else []
        return ServerIdentity(
            hello.version,
            hello.commit or "",
            telemetry.id if telemetry else "",
            cluster.peer_id if cluster else 0,
            tuple(peers),
            scoped,
        )

    def refuse_clusters(self, identity: ServerIdentity | None = None) -> None:
        """Raises Incompatible when the server is one of several peers. One peer in cluster mode is fine.

        Args:
            identity: what `identity()` said; asked for when left out.
        """
        peers = (identity or self.identity()).peers
        if len(peers) > 1:
            raise Incompatible(
                f"{self._http.target.url} is a cluster of {len(peers)} peers",
                why=_NO_CLUSTERS,
                advice=_HALF_IS_NONE,
            )

    def refuse_shards_elsewhere(self, name: CollectionName, replicas: Iterable[Replica]) -> None:
        """The same by what a collection's shards say, for a key that may not see the peers.

        Raises:
            Incompatible: another peer holds some of them.
        """
        elsewhere = {replica.peer_id for replica in replicas if not replica.local}
        if elsewhere:
            raise Incompatible(
                f"{self._http.target.url} is one of {len(elsewhere) + 1} peers that hold {name!r}",
                why=_NO_CLUSTERS,
                advice=_HALF_IS_NONE,
            )

    def replicas(self, name: CollectionName) -> tuple[Replica, ...]:
        """Every replica of every shard as this peer knows them, its own first."""
        call = Call.get(collection_path(name, "cluster"), f"read where the shards of {name!r} are")
        found = self._http.result(call, _Shards)
        local = [Replica(s.shard_id, s.state, found.peer_id, local=True, key=s.shard_key) for s in found.local_shards]
        remote = [Replica(s.shard_id, s.state, s.peer_id, local=False, key=s.shard_key) for s in found.remote_shards]
        return (*local, *remote)

    def recoveries_running(self, name: CollectionName) -> int:
        """How many snapshot recoveries (uploads included) the server is carrying out on this collection."""
        return sum(task.running_snapshot_recovery or 0 for task in self._tasks(name))

    def snapshots_running(self, name: CollectionName) -> int:
        """How many snapshots of this collection the server is creating."""
        return sum(task.running_snapshots or 0 for task in self._tasks(name))

    def snapshots_running_if_told(self, name: CollectionName) -> int | None:
        """The same; None where the key may not see it, and nobody can tell idle from busy."""
        try:
            return self.snapshots_running(name)
        except (AccessDenied, ServerRefused):
            return None

    def optimizer_state(self, name: CollectionName) -> OptimizerState | None:
        """What the optimiser does; None where the server is too old to say (before 1.16)."""
        path = collection_path(name, "optimizations", query={"with": "completed"})
        call = Call.get(path, f"read the optimisations of {name!r}", limit_bytes=LARGE_BYTES)
        try:
            found = self._http.result(call, _Optimizations)
        except ServerRefused as error:
            if error.status in _TOO_OLD:
                return None
            raise
        return OptimizerState(len(found.running), tuple(sorted(one.uuid for one in found.completed or [])))

    def segment_versions(self, name: CollectionName, shard_ids: Iterable[int]) -> dict[int, dict[str, int]] | None:
        """Shard id to segment id to version, from `partial/manifest`: every write moves one of them.

        None where the server is too old to say. The key needs read access to everything (a collection's key is denied).
        """
        versions: dict[int, dict[str, int]] = {}
        for shard_id in shard_ids:
            path = collection_path(name, "shards", shard_id, "snapshot", "partial", "manifest")
            call = Call.get(path, f"read the segment versions of {name!r}", limit_bytes=LARGE_BYTES)
            try:
                manifest = self._http.result(call, dict[str, _SegmentManifest])
            except ServerRefused as error:
                if error.status in _TOO_OLD:
                    return None
                raise
            versions[shard_id] = {segment: one.segment_version for segment, one in manifest.items()}
        return versions

    def estimated_bytes(self, name: CollectionName) -> int:
        """About how large a snapshot will be: 1.2 x vectors and payloads as telemetry counts them, and a WAL per shard.

        0 where telemetry says nothing. The last backup's size is the better guess.
        """
        found = self._telemetry(details_level=4)
        shards = [
            shard.local
            for one in (found.collections or [])
            if one.id == name
            for shard in (one.shards or [])
            if shard.local is not None
        ]
        data = sum((shard.vectors_size_bytes or 0) + (shard.payloads_size_bytes or 0) for shard in shards)
        return int(data * _SNAPSHOT_FACTOR) + min(_WAL_BYTES * len(shards), max(data, 1024 * 1024 * len(shards)))

    def wait_for_recovery_end(
        self, name: CollectionName, *, limit_s: float | None = None, progress: Progress = NO_PROGRESS
    ) -> None:
        """Wait until no recovery of this collection runs, on several polls in a row.

        A server that does not answer meanwhile is waited for as long as the target's deadline on silence. Without
        `limit_s` a recovery may take as long as it takes.

        Raises:
            Unanswered: `limit_s` is over and it still runs.
            ConnectionFailed: the server stayed away.
        """
        clock = self._http.clock
        began = heard = clock.monotonic()
        quiet = 0
        while True:
            running = self._recoveries_if_heard(name, clock.monotonic() - heard)
            if running is not None:
                heard = clock.monotonic()
            quiet = quiet + 1 if running == 0 else 0
            if quiet >= QUIET_POLLS:
                return
            if limit_s is not None and clock.monotonic() - began > limit_s:
                what = f"{name!r} is still being recovered at {self._http.target.url}"
                raise Unanswered(what, why=f"{limit_s:g} s are over")
            if running:
                progress.note(f"waiting: the server is still recovering {name!r}")
            clock.sleep(POLL_S)

    def _recoveries_if_heard(self, name: CollectionName, unheard_s: float) -> int | None:
        """None while the server does not answer, which is borne for the deadline on silence."""
        try:
            return self.recoveries_running(name)
        except ConnectionFailed:
            if unheard_s > self._http.target.silence_s:
                raise
            return None

    def _hello(self) -> _Hello:
        call = dataclasses.replace(Call.get("/", "reach Qdrant"), silence_s=_FIRST_LOOK_S)
        try:
            hello = self._http.whole(call, _Hello)
        except ServerRefused as error:
            raise NotQdrant(could_not(call, self._http.target), why=f"something else answered, {error.why}") from None
        if "qdrant" not in hello.title.lower():
            raise NotQdrant(could_not(call, self._http.target), why="something else answered, in JSON")
        return hello

    def _cluster(self) -> tuple[_Cluster | None, bool]:
        """What it says of its peers, and whether the key was refused to hear it."""
        try:
            return self._http.result(Call.get("/cluster", "read the state of the cluster"), _Cluster), False
        except AccessDenied:
            return None, True
        except ServerRefused:
            return None, False

    def _where_permitted(self, call: Call, type_: type[T]) -> T | None:
        try:
            return self._http.result(call, type_)
        except (AccessDenied, ServerRefused):
            return None

    def _tasks(self, name: CollectionName) -> list[_Tasks]:
        found = self._telemetry(details_level=3)
        return [task for task in (found.snapshots or []) if task.id == name]

    def _telemetry(self, *, details_level: int) -> _CollectionsTelemetry:
        path = f"/telemetry?details_level={details_level}"
        call = Call.get(path, "read the telemetry", limit_bytes=LARGE_BYTES)
        return self._http.result(call, _Telemetry).collections or _CollectionsTelemetry()
