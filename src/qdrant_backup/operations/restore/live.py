"""What stands on the server now: how it looks, whether it moved, what it holds. And waiting for it, never forever."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qdrant_backup.errors import (
    CollectionFailed,
    CollectionMissing,
    ConnectionFailed,
    ServerRefused,
)
from qdrant_backup.operations.events import Note
from qdrant_backup.storage.files import TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from qdrant_backup.model import CollectionInfo, CollectionName
    from qdrant_backup.operations.ports import Ports

__all__ = [
    "Live",
    "fingerprint",
    "look",
    "scratch_file",
    "settle",
    "wait_until",
    "wait_until_gone",
    "wait_until_whole",
]

_POLL_S = 0.5
_BROKEN_S = 15.0
_STARTING_S = 60.0
_GONE_POLLS = 3
_SERVER_ERROR = 500


@dataclasses.dataclass(frozen=True)
class Live:
    """A name on the server.

    Attributes:
        exists: `GET /collections` lists it; an alias of that name does not count.
        info: what it says of itself; None when it does not exist, or is broken (a dummy shard answers 500).
        broken: the server's words when it cannot say.
    """

    exists: bool
    info: CollectionInfo | None = None
    broken: str = ""


def look(ports: Ports, name: CollectionName) -> Live:
    """How a collection stands, also when it is broken."""
    if not ports.server.exists(name):
        return Live(exists=False)
    try:
        return Live(exists=True, info=ports.server.collection(name))
    except CollectionMissing:
        return Live(exists=False)
    except ServerRefused as error:
        if error.status < _SERVER_ERROR:
            raise
        return Live(exists=True, broken=error.why or error.what)


def fingerprint(ports: Ports, name: CollectionName) -> dict[str, int] | None:
    """Something that moves with every write: each shard's highest segment version, as JSON holds it.

    Optimising rewrites segments without raising the highest version, so it does not move this. A server that cannot say
    is asked for the exact count, which misses overwrites; None where a broken collection says nothing at all.
    """
    try:
        shards = {replica.shard_id for replica in ports.server.replicas(name)}
        versions = ports.server.segment_versions(name, sorted(shards))
        if versions is not None:
            return {str(shard): max(found.values(), default=0) for shard, found in sorted(versions.items())}
        return {"points": ports.server.count(name)}
    except (ServerRefused, CollectionMissing):
        return None


@contextlib.contextmanager
def scratch_file(ports: Ports) -> Generator[Path, None, None]:
    """A file name for a digest nobody keeps, in the backup directory, where the next run clears it after a kill."""
    root = ports.directory.root
    if not root.is_dir():
        with tempfile.TemporaryDirectory(prefix="qdrant-backup-") as directory:
            yield Path(directory) / "digest"
        return
    path = root / f".digest-{ports.token()}{TEMPORARY_SUFFIX}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def wait_until(ports: Ports, condition: Callable[[], bool], limit_s: float) -> bool:
    """Ask until it holds or the time is over; whether it holds."""
    deadline = ports.clock.monotonic() + limit_s
    while not condition():
        if ports.clock.monotonic() >= deadline:
            return False
        ports.clock.sleep(_POLL_S)
    return True


def settle(ports: Ports, name: CollectionName) -> None:
    """Wait until the server answers and no recovery of the collection runs; nothing may start on it before.

    An upload whose client has gone is carried on by the server, and its data would replace what was put there meanwhile.

    Raises:
        ConnectionFailed: the server did not come back, or works on after `server_wait_s`.
    """
    clock = ports.clock
    deadline = clock.monotonic() + ports.server_wait_s
    down_until = min(deadline, clock.monotonic() + _STARTING_S)
    said = False
    while (error := _unsettled(ports, name, deadline - clock.monotonic())) is not None:
        if clock.monotonic() >= down_until:
            raise error
        if not said:
            ports.tell(Note(f"{name}: the server does not answer, waiting for it"))
            said = True
        clock.sleep(_POLL_S)


def _unsettled(ports: Ports, name: CollectionName, limit_s: float) -> ConnectionFailed | None:
    try:
        ports.server.wait_for_recovery_end(name, limit_s=max(_POLL_S, limit_s), progress=ports.progress)
    except ConnectionFailed as error:
        return error
    return None


def wait_until_whole(ports: Ports, name: CollectionName) -> CollectionInfo:
    """Wait until the collection answers, every replica is Active, and it is not red.

    Yellow and grey mean that the optimiser works or will; the points are all there, which the content check proves.

    Raises:
        CollectionFailed: it does not get there; `server_wait_s` for a slow replica, a few seconds for a broken shard.
    """
    clock = ports.clock
    start = clock.monotonic()
    while True:
        info, why, patience_s = _state(ports, name)
        if info is not None:
            return info
        if clock.monotonic() - start >= min(patience_s, ports.server_wait_s):
            raise CollectionFailed(f"{name} did not become usable after the restore", why=why, collection=name)
        clock.sleep(_POLL_S)


def _state(ports: Ports, name: CollectionName) -> tuple[CollectionInfo | None, str, float]:
    try:
        info = ports.server.collection(name)
        waiting = [replica for replica in ports.server.replicas(name) if replica.state.lower() != "active"]
    except CollectionMissing:
        return None, "it does not exist", _BROKEN_S
    except ServerRefused as error:
        return None, error.why or error.what, _BROKEN_S
    if waiting:
        states = ", ".join(sorted({f"shard {replica.shard_id} is {replica.state}" for replica in waiting}))
        return None, states, ports.server_wait_s
    if info.status == "red":
        return None, "the server calls it red", _BROKEN_S
    return info, "", 0.0


def wait_until_gone(ports: Ports, name: CollectionName) -> bool:
    """Whether the collection is gone, seen several times running while no recovery is under way.

    A collection that a late upload creates appears after its deletion was answered; so absence is looked at again.
    """
    seen = 0

    def is_gone() -> bool:
        nonlocal seen
        seen = 0 if ports.server.exists(name) else seen + 1
        return seen >= _GONE_POLLS

    if not wait_until(ports, is_gone, min(_BROKEN_S, ports.server_wait_s)):
        return False
    settle(ports, name)
    return not ports.server.exists(name)
