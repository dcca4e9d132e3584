"""Writes the points of a points file in bounded batches, each looked at before and read back after; or takes them back.

A point is only written while the server holds what the plan saw there, so whatever somebody else wrote meanwhile stays.
Doing the same twice does nothing the second time, so a run that was killed is resumed by running it again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.errors import IntegrityFailed
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.mending.points import content_of_point, named_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from qdrant_backup.qdrant.server import Server
    from qdrant_backup.storage.points_file import Mend

__all__ = ["Done", "batches", "changed_since", "take_back", "write"]

BATCH_BYTES = 4 << 20
"""Below the server's limit on a body, 32 MiB, with room for a point that is large by itself."""

BATCH_POINTS = 256
_NUMBER_BYTES = 26  # -1.2345678901234567e-38 and a comma have 24.


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
        taken = max(_most_bytes(mend.wanted), _most_bytes(mend.before))
        full = len(batch) == BATCH_POINTS or size + taken > BATCH_BYTES
        if batch and (full or batch[0].collection != mend.collection):
            yield batch
            batch, size = [], 0
        batch.append(mend)
        size += taken
    if batch:
        yield batch


def _most_bytes(point: Mapping[str, Any] | None) -> int:
    """At least what a point takes as JSON; to write its numbers out only to count the digits took as long as sending them."""
    if point is None:
        return 0
    numbers = sum(_numbers(vector) for vector in named_vectors(point).values())
    return len(msgspec.json.encode(point.get("payload"))) + numbers * _NUMBER_BYTES


def _numbers(vector: Any) -> int:
    if isinstance(vector, dict):
        return 2 * len(cast("dict[str, list[Any]]", vector)["values"])
    rows = cast("list[Any]", vector)
    if rows and isinstance(rows[0], list):
        return sum(len(row) for row in cast("list[list[Any]]", rows))
    return len(rows)


def _contents(server: Server, name: str, ids: Sequence[int | str]) -> dict[int | str, bytes | None]:
    found = server.retrieve(CollectionName(name), ids, with_payload=True, with_vector=True)
    return {point["id"]: content_of_point(point) for point in found}


def write(server: Server, mends: Iterable[Mend]) -> Done:
    """Write what is wanted, where the server still holds what was there before.

    Raises:
        IntegrityFailed: what was written reads back as something else.
        ConnectionFailed, AccessDenied, ServerRefused: the server's answer; some batches may be written.
    """
    with ThreadPoolExecutor(1) as reading:
        return _written(server, mends, reading)


def _written(server: Server, mends: Iterable[Mend], reading: ThreadPoolExecutor) -> Done:
    """As `write`; each batch is read back in the other thread while the next one is written."""
    written: Counter[str] = Counter()
    kept: list[tuple[str, int | str]] = []
    proven: Future[None] | None = None
    for batch in batches(mends):
        name = batch[0].collection
        live = _contents(server, name, [mend.wanted["id"] for mend in batch])
        pending: list[tuple[dict[str, Any], bytes | None]] = []
        for mend in batch:
            here, wanted = live.get(mend.wanted["id"]), content_of_point(mend.wanted)
            if here == wanted:
                written[name] += 1
            elif here == content_of_point(mend.before):
                pending.append((mend.wanted, wanted))
            else:
                kept.append((name, mend.wanted["id"]))
        if pending:
            server.upsert(CollectionName(name), [point for point, _ in pending])
            if proven is not None:
                proven.result()
            proven = reading.submit(_read_back, server, name, pending)
        written[name] += len(pending)
    if proven is not None:
        proven.result()
    return Done(written, tuple(kept))


def _upsert(server: Server, name: str, points: Sequence[tuple[dict[str, Any], bytes | None]]) -> None:
    """Write points, each given with its content, and read them back."""
    if not points:
        return
    server.upsert(CollectionName(name), [point for point, _ in points])
    _read_back(server, name, points)


def _read_back(server: Server, name: str, points: Sequence[tuple[dict[str, Any], bytes | None]]) -> None:
    found = _contents(server, name, [point["id"] for point, _ in points])
    for point, content in points:
        if found.get(point["id"]) != content:
            raise IntegrityFailed(
                f"{name}: point {point['id']} does not hold what was written",
                why="reading it back gives another payload or vector",
                advice="Somebody else may write to it. Stop the writers, and try again.",
                collection=name,
            )


def changed_since(server: Server, mends: Iterable[Mend]) -> list[tuple[str, int | str]]:
    """The points that hold neither what was written nor what was there before, as (collection, id)."""
    changed: list[tuple[str, int | str]] = []
    for batch in batches(mends):
        name = batch[0].collection
        live = _contents(server, name, [mend.wanted["id"] for mend in batch])
        for mend in batch:
            here = live.get(mend.wanted["id"])
            if here not in {content_of_point(mend.wanted), content_of_point(mend.before)}:
                changed.append((name, mend.wanted["id"]))
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
    for batch in batches(mends):
        name = batch[0].collection
        live = _contents(server, name, [mend.wanted["id"] for mend in batch])
        earlier: list[dict[str, Any]] = []
        doomed: list[int | str] = []
        for mend in batch:
            point_id = mend.wanted["id"]
            here = live.get(point_id)
            if here == content_of_point(mend.before):
                continue
            if not force and here != content_of_point(mend.wanted):
                kept.append((name, point_id))
            elif mend.before is None:
                doomed.append(point_id)
            else:
                earlier.append(mend.before)
        _upsert(server, name, [(point, content_of_point(point)) for point in earlier])
        if doomed:
            server.delete_points(CollectionName(name), doomed)
        done[name] += len(earlier) + len(doomed)
    return Done(done, tuple(kept))
