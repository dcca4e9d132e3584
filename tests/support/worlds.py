"""Collections with everything that Qdrant has, small; and their digests as the stock client sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qdrant_backup.digest import DigestWriter, record_of
from support.restoring import Lab, named_config, path_of, points_of
from support.servers import RunningServer

__all__ = ["ODD_NAMES", "content_by_client", "rich_world", "small_world"]

ODD_NAMES = ("Ümläut und Leerzeichen", "docs", "Docs", "50%25 off", "con")


def lab_at(server: RunningServer, directory: Path) -> Lab:
    return Lab(server, directory / "backups", directory / "scratch")


def small_world(lab: Lab, *, points: int = 20) -> None:
    """The guide's three, made in another order than the guide's."""
    lab.make("code-patterns", points_of(points // 2, seed=3))
    lab.make("discussions", points_of(points), indexes={"group": "keyword"})
    lab.make("conventions", points_of(points // 2, seed=2))


def rich_world(lab: Lab) -> None:
    """Named, sparse and multivectors, quantization, a tenant index, both kinds of id, odd names, nothing at all, aliases."""
    indexes = {"group": {"type": "keyword", "is_tenant": True}, "rank": "integer"}
    lab.make("discussions", points_of(50, named=True), {**named_config(), "metadata": {"owner": "Ümit"}}, indexes)
    lab.call("POST", path_of("discussions", "points/delete?wait=true"), {"points": [3, 7]})
    lab.put("discussions", points_of(5, seed=9, named=True, first=10))
    lab.make("conventions", points_of(20, seed=2), {"vectors": {"size": 4, "distance": "Cosine"}, "shard_number": 2})
    for number, name in enumerate(ODD_NAMES):
        lab.make(name, points_of(6, seed=20 + number))
    lab.make("empty", [])
    lab.alias("talk", "discussions")
    lab.alias("Räte", "conventions")


def content_by_client(server: RunningServer, name: str, vector_names: list[str]) -> tuple[int, str]:
    """How many points a collection has, and the digest's hash of them, both by the stock client."""
    client = server.client()
    records: list[bytes] = []
    offset: Any = None
    while True:
        page, offset = client.scroll(name, limit=64, offset=offset, with_payload=True, with_vectors=True)
        for point in page:
            vectors = point.vector if isinstance(point.vector, dict) else {"": point.vector}
            records.append(record_of(point.id, point.payload, vectors, sorted(vector_names)))
        if offset is None:
            break
    client.close()
    writer = DigestWriter(lambda _: None, vector_names)
    writer.add(sorted(records))
    summary = writer.finish()
    return summary.points, summary.content
