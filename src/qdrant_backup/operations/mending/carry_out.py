"""Writes the points of a points file in bounded batches, each looked at before and read back after; or takes them back.

A point is only written while the server holds what the plan saw there, so whatever somebody else wrote meanwhile stays.
Doing the same twice does nothing the second time, so a run that was killed is resumed by running it again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter, deque
from concurrent.futures import wait
from typing import TYPE_CHECKING

from qdrant_backup.errors import IntegrityFailed
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.ahead import one_ahead
from qdrant_backup.operations.aside import aside
from qdrant_backup.operations.mending.points import content_of_point

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from qdrant_backup.qdrant.server import Server
    from qdrant_backup.storage.points_file import Mend, PointState

    _Live = dict[int | str, bytes | None]  # What the points hold, by their ids; those that are not there are absent.

__all__ = ["Done", "batches", "changed_since", "take_back", "write"]

BATCH_BYTES = 4 << 20
"""Below the server's limit on a body, 32 MiB, with room for a point that is large by itself."""

BATCH_POINTS = 256

_WRITERS = 2
"""One batch is read back here while the server takes the next one."""


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of the points.

    Attributes:
        written: how many were written now or by an earlier run, or put back, by collection.
        kept: those that somebody else had changed meanwhile, as (collection, id).
    """

    written: Mapping[str, int]
    kept: tuple[tuple[str, int | str], ...] = ()


def batches(mends: Iterable[Mend]) -> Iterator[list[Mend]]:
    """Points of one collection at a time, so many that a body stays small."""
    batch: list[Mend] = []
    size = 0
    for mend in mends:
        taken = _most_bytes(mend)
        full = len(batch) == BATCH_POINTS or size + taken > BATCH_BYTES
        if batch and (full or batch[0].collection != mend.collection):
            yield batch
            batch, size = [], 0
        batch.append(mend)
        size += taken
    if batch:
        yield batch


def _most_bytes(mend: Mend) -> int:
    return max(memoryview(state.point).nbytes for state in (mend.wanted, mend.before) if state is not None)


def _contents(server: Server, name: str, ids: Sequence[int | str]) -> _Live:
    found = server.retrieve(CollectionName(name), ids, with_payload=True, with_vector=True)
    return {point["id"]: content_of_point(point) for point in found}


def _looked_at(server: Server, mends: Iterable[Mend]) -> Iterator[tuple[list[Mend], _Live]]:
    """Each batch with what the server holds at its points."""
    for batch in batches(mends):
        yield batch, _contents(server, batch[0].collection, [mend.id for mend in batch])


def write(server: Server, mends: Iterable[Mend]) -> Done:
    """Write what is wanted, where the server still holds what was there before.

    Raises:
        IntegrityFailed: what was written reads back as something else.
        ConnectionFailed, AccessDenied, ServerRefused: the server's answer; some batches may be written.
        OperationFailed: no thread can be started.
    """
    running: deque[Future[None]] = deque()
    try:
        return _written(server, mends, running)
    finally:
        # After a failure everything is put back, and what still comes would overwrite that.
        wait(running)


def _written(server: Server, mends: Iterable[Mend], running: deque[Future[None]]) -> Done:
    """As `write`; while a batch is written, the one before it is read back, and the next one looked at."""
    written: Counter[str] = Counter()
    kept: list[tuple[str, int | str]] = []
    for batch, live in one_ahead(_looked_at(server, mends), "look at the points to write"):
        name = batch[0].collection
        pending: dict[int | str, PointState] = {}
        for mend in batch:
            here = live.get(mend.id)
            if here == mend.wanted.content:
                written[name] += 1
            elif here == mend.content_before:
                pending[mend.id] = mend.wanted
            else:
                kept.append((name, mend.id))
        if not pending:
            continue
        if len(running) == _WRITERS:
            running.popleft().result()
        running.append(aside(functools.partial(_upsert, server, name, pending), f"writing of points to {name}"))
        written[name] += len(pending)
    for last in running:
        last.result()
    return Done(written, tuple(kept))


def _upsert(server: Server, name: str, states: Mapping[int | str, PointState]) -> None:
    """Write points, by their ids, and read them back."""
    server.upsert(CollectionName(name), [state.point for state in states.values()])
    found = _contents(server, name, list(states))
    for point_id, state in states.items():
        if found.get(point_id) != state.content:
            raise IntegrityFailed(
                f"{name}: point {point_id} does not hold what was written",
                why="reading it back gives another payload or vector",
                advice="Somebody else may write to it. Stop the writers, and try again.",
                collection=name,
            )


def changed_since(server: Server, mends: Iterable[Mend]) -> list[tuple[str, int | str]]:
    """The points that hold neither what was written nor what was there before, as (collection, id)."""
    changed: list[tuple[str, int | str]] = []
    for batch, live in _looked_at(server, mends):
        name = batch[0].collection
        changed += [
            (name, mend.id) for mend in batch if live.get(mend.id) not in {mend.wanted.content, mend.content_before}
        ]
    return changed


def take_back(server: Server, mends: Iterable[Mend], *, force: bool = False) -> Done:
    """Make each point what it was before: overwritten ones are put back, added ones deleted.

    Args:
        server: the server.
        mends: what was written.
        force: also where somebody has written since.

    Raises:
        IntegrityFailed: what was put back reads back as something else.
    """
    done: Counter[str] = Counter()
    kept: list[tuple[str, int | str]] = []
    for batch, live in _looked_at(server, mends):
        name = batch[0].collection
        earlier: dict[int | str, PointState] = {}
        doomed: list[int | str] = []
        for mend in batch:
            here = live.get(mend.id)
            if here == mend.content_before:
                continue
            if not force and here != mend.wanted.content:
                kept.append((name, mend.id))
            elif mend.before is None:
                doomed.append(mend.id)
            else:
                earlier[mend.id] = mend.before
        if earlier:
            _upsert(server, name, earlier)
        if doomed:
            server.delete_points(CollectionName(name), doomed)
        done[name] += len(earlier) + len(doomed)
    return Done(done, tuple(kept))
