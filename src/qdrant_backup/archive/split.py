"""Take one shard out of a collection's archive, while that streams by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.archive import tar
from qdrant_backup.archive.rewrite import Rewriter
from qdrant_backup.archive.walk import ArchiveWalker, Limits
from qdrant_backup.errors import IntegrityFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qdrant_backup.archive.stream import Entry

__all__ = ["split_shard"]

_DEFAULT_LIMITS = Limits()


def split_shard(
    chunks: Iterable[bytes],
    shard_id: int,
    *,
    limits: Limits = _DEFAULT_LIMITS,
    name: str = "the archive",
) -> Iterator[bytes]:
    """Yield the archive of one shard, in the form that `POST .../shards/{id}/snapshots/upload` and the engine take.

    The shard keeps its WAL, so what it restores to is what the whole archive would restore to. The collection's own
    documents are left behind: a shard's archive has no place for them.

    Args:
        chunks: a collection's archive; read to its end, since only the end proves that it is whole.
        shard_id: which shard.
        limits: what counts as hostile.
        name: what to call the archive in messages.

    Raises:
        IntegrityFailed: the archive is damaged, or does not hold that shard's data. Discard what was yielded before.
    """
    prefix = f"{shard_id}/"

    def renamed(entry: Entry) -> str | None:
        return entry.name.removeprefix(prefix) if entry.name.startswith(prefix) else None

    walker = ArchiveWalker(kind="collection", limits=limits, name=name)
    rewriter = Rewriter(renamed, limits=limits, name=name)
    for chunk in chunks:
        walker.feed(chunk)
        if piece := rewriter.feed(chunk):
            yield piece
    if shard_id not in walker.finish().shards_with_data:
        raise IntegrityFailed(f"{name} cannot be split", why=f"it does not hold the data of shard {shard_id}")
    yield tar.END_BLOCKS
