"""Backups and restores of a real server against the guide's flow by curl: create, download, delete; and `curl -F`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from content import DIMENSIONS, fill
from measure import Row, Unavailable, in_turns, measures
from qdrant_backup.archive.walk import ArchiveWalker
from qdrant_backup.clock import SystemClock
from qdrant_backup.engine.engine import Digested
from qdrant_backup.engine.opened import Openings
from qdrant_backup.installation.installation import Installation
from qdrant_backup.model import NO_PROGRESS, Checksum, CollectionName, DigestSummary
from qdrant_backup.operations.backup import BackupRequest, back_up
from qdrant_backup.operations.events import say_nothing
from qdrant_backup.operations.ports import Ports
from qdrant_backup.qdrant.http import Http
from qdrant_backup.qdrant.server import Server
from qdrant_backup.qdrant.target import Target
from qdrant_backup.secret import Secret
from qdrant_backup.storage.directory import BackupDirectory
from qdrant_backup.storage.files import read_blocks
from qdrant_backup.storage.reading import file_sha256
from support.servers import start_real

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qdrant_backup.archive.report import ArchiveReport
    from support.servers import RunningServer

POINTS = 100_000
FIVE = tuple(f"five-{number}" for number in range(5))
RUNS = 3
CODE = "from qdrant_backup.cli.main import main; main()"


class _NoDigest:
    """Stands where the engine stands, and opens nothing: what is left is the transfer."""

    def __init__(self, report: ArchiveReport) -> None:
        self._digested = Digested(DigestSummary(0, ("",), "0" * 64), report)

    @contextlib.contextmanager
    def open_digest(self, target: Path, **_name: str) -> Iterator[_NoDigest]:
        target.touch()
        yield self

    def write(self, _chunk: bytes) -> None: ...

    def finish(self) -> Digested:
        return self._digested


def curl(server: RunningServer, *words: str) -> None:
    key = f"api-key: {server.api_key}"
    command = ["curl", "-sS", "--fail-with-body", "-H", key, *words]
    subprocess.run(command, check=True, timeout=600, stdout=subprocess.DEVNULL)


def by_curl(server: RunningServer, names: tuple[str, ...], target: Path) -> None:
    """The guide's flow: create, download, delete, one collection after the other."""
    for name in names:
        path = f"{server.url}/collections/{name}/snapshots"
        snapshot = server.call("POST", f"/collections/{name}/snapshots")[1]["result"]["name"]
        curl(server, "-o", str(target), f"{path}/{snapshot}")
        curl(server, "-X", "DELETE", f"{path}/{snapshot}")


def connected(server: RunningServer) -> Server:
    return Server(Http(Target.parse(server.url, api_key=Secret(server.api_key)), clock=SystemClock()))


def report_of(archive: Path) -> ArchiveReport:
    """What every one of these archives looks like: one shard, one vector."""
    walker = ArchiveWalker()
    for block in read_blocks(archive):
        walker.feed(block)
    return walker.finish()


def ports(server: RunningServer, root: Path, report: ArchiveReport) -> Ports:
    return ports_through(server, root, _NoDigest(report))


def ports_through(server: RunningServer, root: Path, engine: Any) -> Ports:
    """A server, an engine and a backup directory, and nobody who is told anything."""
    return Ports(
        server=connected(server),
        engine=engine,
        openings=Openings(root / "opened"),
        directory=BackupDirectory(root),
        installation=Installation(root / "none"),
        clock=SystemClock(),
        progress=NO_PROGRESS,
        tell=say_nothing,
        token=lambda: os.urandom(8).hex(),
    )


def cli(server: RunningServer, root: Path, *words: str) -> None:
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith(("QDRANT_", "AI_MEMORY_", "PYTHON"))},
        "QDRANT_URL": server.url,
        "QDRANT_API_KEY": server.api_key,
        "AI_MEMORY_INSTALL_DIR": str(root / "none"),
    }
    command = [sys.executable, "-c", CODE, *words, "--output", str(root)]
    subprocess.run(command, check=True, timeout=1200, env=environment, stdout=subprocess.DEVNULL)


def emptied(root: Path, action: Callable[[], object]) -> Callable[[], object]:
    """The action, in a backup directory without backups: neither a disk that fills up nor a longer list is measured."""

    def run() -> None:
        shutil.rmtree(root, ignore_errors=True)
        action()

    return run


@measures("transfers")
def transfers(scratch: Path) -> Iterator[Row]:
    """Design 17: 1.15 x and 2.5 x for one large collection, 0.75 x for five, 1.1 x and 4 x for a restore."""
    if shutil.which("qdrant") is None:
        raise Unavailable("no `qdrant` on PATH")
    server = start_real(scratch / "server")
    try:
        fill(server, POINTS, "large")
        for name in FIVE:
            fill(server, POINTS // 5, name)
        yield from _backups(server, scratch)
        yield from _restores(server, scratch)
    finally:
        server.stop()


def _backups(server: RunningServer, scratch: Path) -> Iterator[Row]:
    root, target = scratch / "backups", scratch / "by-curl.snapshot"
    by_curl(server, FIVE[:1], target)
    report = report_of(target)

    def transfer(*names: str) -> Callable[[], object]:
        request = BackupRequest(names, kind="safety", with_config=False)
        return emptied(root, lambda: back_up(request, ports(server, root, report)))

    size = f"{POINTS:,} points of {DIMENSIONS} dimensions"
    alone, whole, reference = in_turns(
        transfer("large"),
        emptied(root, lambda: cli(server, root, "backup", "--collection", "large")),
        lambda: by_curl(server, ("large",), target),
        runs=RUNS,
    )
    yield Row(f"backup of {size}, transfer alone", alone, reference, ratio_budget=1.15, compared_with="curl")
    yield Row(f"backup of {size}, all included", whole, reference, ratio_budget=2.5, compared_with="curl")
    alone, reference = in_turns(
        transfer(*FIVE),
        lambda: by_curl(server, FIVE, target),
        runs=RUNS,
    )
    yield Row("backup of five collections, transfer alone", alone, reference, ratio_budget=0.75, compared_with="curl")


def _restores(server: RunningServer, scratch: Path) -> Iterator[Row]:
    root = scratch / "backups"
    shutil.rmtree(root, ignore_errors=True)
    cli(server, root, "backup", "--collection", "large")
    archive = next(root.glob("2*/qdrant/large.snapshot"))
    size_bytes, sha256 = file_sha256(archive)
    ours = connected(server)
    path = f"{server.url}/collections/large/snapshots"

    def reference() -> None:
        curl(server, "-F", f"snapshot=@{archive};filename=c.snapshot", f"{path}/upload?wait=true&priority=snapshot")
        curl(server, "-X", "DELETE", f"{path}/c.snapshot")

    def alone() -> None:
        ours.upload_snapshot(
            CollectionName("large"),
            snapshot_name="o.snapshot",
            chunks=lambda: read_blocks(archive),
            size_bytes=size_bytes,
            checksum=Checksum(sha256),
        )
        ours.delete_snapshot(CollectionName("large"), "o.snapshot")

    transfer, whole, by_hand = in_turns(
        alone, lambda: cli(server, root, "restore", "latest", "--force", "--no-safety"), reference, runs=RUNS
    )
    yield Row("restore, transfer and recovery alone", transfer, by_hand, ratio_budget=1.1, compared_with="curl -F")
    yield Row("restore, content verified, no safety", whole, by_hand, ratio_budget=4.0, compared_with="curl -F")
