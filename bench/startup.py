"""How long people wait for `--version`, `--help`, and a list of 100 backups, with Python's own start beside it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from measure import Row, in_turns, measures
from qdrant_backup import __version__, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RUNS = 15
BACKUPS = 100
COLLECTIONS = ("discussions", "conventions", "code-patterns", "decisions", "jira-data")
CODE = "from qdrant_backup.cli.main import main; main({!r})"
BARE = "bare python"


def call(arguments: list[str], environment: dict[str, str]) -> Callable[[], object]:
    """An action that starts this Python once; bytecode is cached by the run that warms it up."""
    return lambda: subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, capture_output=True, timeout=300
    )


def entry(name: str, records: int, content: bytes, moment: str) -> manifest.CollectionEntry:
    """A collection as a backup of ours lists it."""
    return manifest.CollectionEntry(
        name=name,
        records=records,
        points=records,
        snapshot_file=f"{name}.snapshot",
        size_bytes=len(content),
        created_at=moment,
        sha256=hashlib.sha256(content).hexdigest(),
        content="0" * 64,
        method="snapshot",
        shards=[manifest.ShardEntry(id=0, state="Active")],
        vector_names=[""],
        config={"params": {"vectors": {"size": 768, "distance": "Cosine"}, "shard_number": 1}},
        payload_schema={"type": {"data_type": "keyword", "points": records}},
    )


def write_backup(directory: Path, number: int) -> None:
    """A backup of five collections, small in bytes and full-grown in its manifest."""
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(hours=number)
    name = f"{moment:%Y-%m-%d_%H%M%S}"
    snapshots = directory / name / "qdrant"
    snapshots.mkdir(parents=True)
    entries: dict[str, manifest.CollectionEntry] = {}
    for collection in COLLECTIONS:
        content = f"{collection} {number}".encode()
        (snapshots / f"{collection}.snapshot").write_bytes(content)
        entries[collection] = entry(collection, 1000 + number, content, moment.isoformat())
    encoded = manifest.encode(
        manifest.Manifest(
            backup_date=moment.isoformat(),
            qdrant_host="localhost",
            qdrant_port=26350,
            collections=entries,
            format=manifest.FORMAT,
            backup_id=name,
            tool_version=__version__,
            started_at=moment.isoformat(),
            finished_at=moment.isoformat(),
            server=manifest.ServerEntry(version="1.18.3"),
            files=[
                manifest.FileEntry(path=f"qdrant/{e.snapshot_file}", size_bytes=e.size_bytes, sha256=e.sha256)
                for e in entries.values()
            ],
        )
    )
    (directory / name / "manifest.json").write_bytes(encoded)
    sums = "".join(f"{e.sha256}  qdrant/{e.snapshot_file}\n" for e in entries.values())
    (directory / name / "SHA256SUMS").write_text(
        f"{sums}{hashlib.sha256(encoded).hexdigest()}  manifest.json\n", "utf-8"
    )


@measures("startup")
def startup(scratch: Path) -> Iterator[Row]:
    """Design 17: 150 ms, 150 ms, 250 ms."""
    backups = scratch / "backups"
    for number in range(BACKUPS):
        write_backup(backups, number)
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith(("QDRANT_", "AI_MEMORY_", "PYTHON"))},
        "AI_MEMORY_BACKUP_DIR": str(backups),
        "AI_MEMORY_INSTALL_DIR": str(scratch / "no-installation"),
    }
    commands = {
        "--version": (["--version"], 0.150),
        "--help": (["--help"], 0.150),
        f"list of {BACKUPS} backups": (["list"], 0.250),
    }
    for name, (arguments, budget) in commands.items():
        ours, bare = in_turns(
            call(["-c", CODE.format(arguments)], environment), call(["-c", "pass"], environment), runs=RUNS
        )
        yield Row(name, ours, bare, budget=budget, compared_with=BARE)
