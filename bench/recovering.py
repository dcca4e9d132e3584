"""What bringing points back costs, beside the stock client that writes the same points without looking at any."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from content import DIMENSIONS, fill
from measure import Row, Unavailable, measures, seconds
from qdrant_backup.engine.engine import Engine
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.backup import BackupRequest, backup
from qdrant_backup.operations.looking.recover import Recovery
from qdrant_backup.operations.looking.recover_values import RecoverRequest
from qdrant_backup.operations.looking.sides import Sides
from support.servers import start_real
from transfers import ports_through

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qdrant_backup.operations.ports import Ports
    from support.servers import RunningServer

NAME = CollectionName("lost")
POINTS = 10_000
BATCH = 256
SLOWER = 2.0
RUNS = 3


def lose(server: RunningServer) -> None:
    """Delete every point."""
    server.call("POST", f"/collections/{NAME}/points/delete?wait=true", {"filter": {}})


def by_recover(ports: Ports, server: RunningServer) -> float:
    """Plan, write, read back and record; opening the backup, which has rows of its own, apart."""
    lose(server)
    with Sides(ports) as sides:
        side = sides.backup(ports.directory.find("latest"))
        side.points(NAME)
        with Recovery(ports, side, RecoverRequest(collections=(NAME,), deleted=True)) as recovery:
            return seconds(lambda: recovery.carry_out(recovery.plan()))


def by_client(client: Any, points: list[Any], server: RunningServer) -> float:
    """The stock client's upsert, in batches as large as ours."""
    lose(server)

    def upsert() -> None:
        for begin in range(0, POINTS, BATCH):
            client.upsert(NAME, points[begin : begin + BATCH], wait=True)

    return seconds(upsert)


@measures("recovering")
def recovering(scratch: Path) -> Iterator[Row]:
    """Issue 4: 10,000 points at no less than half the rate of the stock client's upsert."""
    if shutil.which("qdrant") is None:
        raise Unavailable("no `qdrant` on PATH")
    from qdrant_client.models import PointStruct

    server = start_real(scratch / "server")
    try:
        fill(server, POINTS, NAME)
        ports = ports_through(server, scratch / "backups", Engine(scratch=scratch / "engine"))
        backup(BackupRequest(with_config=False), ports)
        client = server.client()
        read, _ = client.scroll(NAME, limit=POINTS, with_payload=True, with_vectors=True)
        points = [PointStruct(id=one.id, payload=one.payload, vector=one.vector) for one in read]
        times = [(by_recover(ports, server), by_client(client, points, server)) for _ in range(RUNS)]
    finally:
        server.stop()
    ours, theirs = (min(column) for column in zip(*times, strict=True))
    what = f"recover {POINTS:,} points of {DIMENSIONS} dimensions"
    yield Row(what, ours, theirs, ratio_budget=SLOWER, compared_with="stock client")
