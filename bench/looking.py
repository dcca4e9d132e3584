"""What looking into a backup costs: opening 100,000 points, the first search and those after it, the index of words."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from typing import TYPE_CHECKING, Any

from content import COLLECTION, DIMENSIONS, POINTS, archives, fill, start
from measure import Row, measures, seconds
from qdrant_backup.clock import SystemClock
from qdrant_backup.engine.opened import ArchiveSource, Openings, Wanted
from qdrant_backup.manifest import CollectionEntry
from qdrant_backup.model import NO_PROGRESS, CollectionName
from qdrant_backup.operations.looking.filters import parse_filter
from qdrant_backup.operations.looking.opening import OpenedBackups, OpenedCollection
from qdrant_backup.operations.looking.search import Question, search
from qdrant_backup.qdrant.http import Http
from qdrant_backup.qdrant.server import Server
from qdrant_backup.qdrant.target import Target
from qdrant_backup.secret import Secret
from qdrant_backup.storage.files import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qdrant_backup.engine.opened import Opened

KEY = "bench"
FIRST_S = 2.0
LATER_S = 0.05
WORDS_S = 10.0
RUNS = 9
OPENINGS = 3


def reading(opened: Opened) -> OpenedBackups:
    """What a search wants to know of a backup, without a backup."""
    backup: Any = None
    server = Server(Http(Target.parse(f"http://127.0.0.1:{opened.port}", api_key=Secret(KEY)), clock=SystemClock()))
    entry = CollectionEntry(name=COLLECTION, records=POINTS, snapshot_file="x", size_bytes=0)
    collection = OpenedCollection(CollectionName(COLLECTION), entry, backup, opened.directories[COLLECTION])
    return OpenedBackups(server, (collection,), opened.port, opened)


def source_of(archive: Path) -> ArchiveSource:
    """A snapshot's file as something that can be opened."""
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return ArchiveSource("bench", sha256, archive.stat().st_size, sha256, lambda: read_blocks(archive))


def median(backups: OpenedBackups, question: Question) -> float:
    """The usual time of a search in a process that runs."""
    search(backups, question, NO_PROGRESS)
    return statistics.median(seconds(lambda: search(backups, question, NO_PROGRESS)) for _ in range(RUNS))


@measures("looking")
def looking(scratch: Path) -> Iterator[Row]:
    """Issue 4: open and answer the first search in 2 s, later ones in 50 ms; index unindexed text in 10 s."""
    server = start(scratch)
    try:
        fill(server, POINTS)
        field = {"field_name": "project", "field_schema": "keyword"}
        server.call("PUT", f"/collections/{COLLECTION}/index?wait=true", json.dumps(field).encode())
        taken = {when: source_of(path) for when, path in archives(server, scratch)}
    finally:
        server.stop()
    chance = random.Random(3)
    vector = Question(vector=[chance.gauss(0, 1) for _ in range(DIMENSIONS)])
    chosen = Question(condition=parse_filter("project=p7"))
    words = Question(words="memory 4711 of what was decided")

    def first(source: ArchiveSource, openings: Openings) -> None:
        with openings.served([Wanted(COLLECTION, source)], api_key=KEY) as opened:
            search(reading(opened), vector, NO_PROGRESS)

    for when, source in taken.items():
        what = f"open {POINTS:,} points of {DIMENSIONS} dimensions and search, {when}"
        caches = [Openings(scratch / f"cache {when} {run}") for run in range(OPENINGS)]
        new = [seconds(lambda source=source, cache=cache: first(source, cache)) for cache in caches]
        yield Row(f"{what}, first time", min(new), budget=FIRST_S)
        again = [seconds(lambda source=source, cache=cache: first(source, cache)) for cache in caches]
        yield Row(f"{what}, from the cache", min(again), budget=FIRST_S)
    *_, rested = taken.values()
    with Openings(scratch / "cache").served([Wanted(COLLECTION, rested)], api_key=KEY) as opened:
        backups = reading(opened)
        yield Row("a later search by vector, exact", median(backups, vector), budget=LATER_S)
        yield Row("a later search by filter", median(backups, chosen), budget=LATER_S)
        yield Row("index of words", seconds(lambda: search(backups, words, NO_PROGRESS)), budget=WORDS_S)
        yield Row("a later search by words", median(backups, words), budget=LATER_S)
