"""What looking at content costs: the digest of 100,000 points, and walking an archive while it passes."""

from __future__ import annotations

import array
import hashlib
import itertools
import json
import random
import shutil
import time
from typing import TYPE_CHECKING

from measure import Row, Unavailable, in_turns, measures, seconds
from qdrant_backup.archive.walk import ArchiveWalker
from qdrant_backup.engine.engine import Engine
from support.servers import start_embedded, start_real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import RunningServer

POINTS = 100_000
DIMENSIONS = 384
BATCH = 500
DIGEST_S = 4.0
WALK_BYTES_PER_S = 1e9
CHUNK = 1 << 20
RUNS = 3
COLLECTION = "bench"
FLUSHED_S = 6.0
"""The server writes to its segments what its log has brought every five seconds (`flush_interval_sec`, its config.yaml)."""
OPTIMIZED_S = 600.0


def start(scratch: Path) -> RunningServer:
    """A real server where there is one, for its archives are the ones that matter."""
    return start_real(scratch / "server") if shutil.which("qdrant") else start_embedded(scratch / "server")


def vectors(seed: int, dimensions: int) -> Iterator[str]:
    """Endless vectors as JSON; a few texts are reused in turn, since writing numbers is not what is measured."""
    chance = random.Random(seed)
    numbers = [array.array("f", (chance.gauss(0, 1) for _ in range(dimensions))).tolist() for _ in range(997)]
    return itertools.cycle([json.dumps(row) for row in numbers])


def fill(server: RunningServer, points: int, name: str = COLLECTION, dimensions: int = DIMENSIONS) -> None:
    """A collection of that many points with payloads like a memory's.

    Raises:
        Unavailable: the server refused.
    """
    path = f"/collections/{name}"
    answers = [server.call("PUT", path, {"vectors": {"size": dimensions, "distance": "Dot"}})]
    rows = vectors(17, dimensions)
    for begin in range(0, points, BATCH):
        batch = ",".join(
            f'{{"id":{number},"vector":{next(rows)},"payload":'
            f'{{"type":"decision","project":"p{number % 40}","content":"memory {number} of what was decided"}}}}'
            for number in range(begin, min(points, begin + BATCH))
        )
        answers.append(server.call("PUT", f"{path}/points?wait=true", f'{{"points":[{batch}]}}'.encode()))
    if refused := [answer for status, answer in answers if status != 200]:
        raise Unavailable(f"the server refused the points: {refused[0]}")


def archive_of(server: RunningServer, target: Path) -> Path:
    """A snapshot of the collection, downloaded."""
    path = f"/collections/{COLLECTION}/snapshots"
    name = server.call("POST", path)[1]["result"]["name"]
    target.write_bytes(server.call("GET", f"{path}/{name}")[1])
    return target


def rest(server: RunningServer) -> None:
    """Wait until the server has written its segments and its indexes, as it has hours after the last memory came.

    Raises:
        Unavailable: that did not come.
    """
    time.sleep(FLUSHED_S)
    for _ in range(int(OPTIMIZED_S)):
        if server.call("GET", f"/collections/{COLLECTION}")[1]["result"]["status"] == "green":
            time.sleep(FLUSHED_S)
            return
        time.sleep(1)
    raise Unavailable(f"the server still optimises after {OPTIMIZED_S:.0f} s")


def archives(server: RunningServer, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Snapshots of the collection, by the state in which the server was.

    The first one brings a long log of writes, which whoever opens it must replay; the second one is the usual one.
    """
    yield "taken while it is written", archive_of(server, scratch / "busy.snapshot")
    rest(server)
    yield "taken at rest", archive_of(server, scratch / "rest.snapshot")


@measures("content")
def content(scratch: Path) -> Iterator[Row]:
    """Design 17: 4 s on one core, opening included. Issue 3: at least 1 GB/s on regular members."""
    server = start(scratch)
    try:
        fill(server, POINTS)
        taken = dict(archives(server, scratch))
    finally:
        server.stop()
    engine = Engine(scratch=scratch / "engine")
    for when, archive in taken.items():
        targets = [scratch / f"{when} {run}.digest" for run in range(RUNS)]
        times = [seconds(lambda path=archive, target=target: engine.digest_file(path, target)) for target in targets]
        yield Row(f"digest of {POINTS:,} points of {DIMENSIONS} dimensions, {when}", min(times), budget=DIGEST_S)

    *_, rested = taken.values()
    data = rested.read_bytes()
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]

    def walk() -> None:
        walker = ArchiveWalker()
        for chunk in chunks:
            walker.feed(chunk)
        walker.finish()

    walked, hashed = in_turns(walk, lambda: hashlib.sha256(data).digest(), runs=RUNS)
    yield Row(
        f"walk of that archive ({len(data) / 1e6:.0f} MB)",
        walked,
        hashed,
        budget=len(data) / WALK_BYTES_PER_S,
        compared_with="SHA-256",
    )
