"""Make a collection's archive out of the archives of its shards, while those stream in.

Uploaded to a server, the result restores as the server's own collection snapshot does (`qdrant-measured.md` 2: one and
two shards, and a three-node cluster's shards on one standalone node). A shard's members keep their bytes and their
metadata and only get `{shard}/` in front of their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.archive import tar
from qdrant_backup.archive.places import COLLECTION_DOCUMENTS
from qdrant_backup.archive.rewrite import Rewriter
from qdrant_backup.archive.shape import check_shard_ids
from qdrant_backup.archive.walk import ArchiveWalker, Limits
from qdrant_backup.errors import IntegrityFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qdrant_backup.archive.stream import Entry

__all__ = ["VERSION_INFO", "collection_documents", "compose_collection", "payload_index_document"]

VERSION_INFO = b"0.4.2"
"""The collection format that every Qdrant from 1.8 to 1.19 writes; it is not the server's version."""

_DEFAULT_LIMITS = Limits()


def payload_index_document(payload_schema: Mapping[str, Any]) -> dict[str, Any]:
    """`payload_index.json` from the `payload_schema` of `GET /collections/{c}`.

    A field is written as its parameters if the server gave any, else as its type's name. A schema that is already in
    that form comes back as it is.
    """
    schema: dict[str, Any] = {}
    for field, described in payload_schema.items():
        if isinstance(described, dict) and "data_type" in described:
            of_field = cast("dict[str, Any]", described)
            schema[field] = of_field.get("params") or of_field["data_type"]
        else:
            schema[field] = described
    return {"schema": schema}


def collection_documents(
    config: bytes | Mapping[str, Any],
    payload_schema: Mapping[str, Any],
    shard_keys: Mapping[str | int, Sequence[int]] | None = None,
) -> dict[str, bytes]:
    """The four documents at the root of a collection's archive, in the server's order."""
    keys = [{"key": key, "shard_ids": list(shard_ids)} for key, shard_ids in (shard_keys or {}).items()]
    encoded = config if isinstance(config, bytes) else msgspec.json.encode(config)
    documents = (
        VERSION_INFO,
        encoded,
        msgspec.json.encode(keys),
        msgspec.json.encode(payload_index_document(payload_schema)),
    )
    return dict(zip(COLLECTION_DOCUMENTS, documents, strict=True))


def compose_collection(
    shards: Iterable[tuple[int, Iterable[bytes]]],
    *,
    config: bytes | Mapping[str, Any],
    payload_schema: Mapping[str, Any],
    shard_keys: Mapping[str | int, Sequence[int]] | None = None,
    limits: Limits = _DEFAULT_LIMITS,
) -> Iterator[bytes]:
    """Yield a collection's archive; about one piece out per chunk in, and no more in memory than that.

    Args:
        shards: number and streamed (or stored) archive of every shard, in ascending order; each stream is read to its
            end before the next is asked for.
        config: `result.config` of `GET /collections/{c}`, or its bytes.
        payload_schema: `result.payload_schema` of the same answer.
        shard_keys: the shard numbers of each key, for custom sharding.
        limits: what counts as hostile.

    Raises:
        IntegrityFailed: a shard's archive is damaged, hostile or was cut (a stream that breaks still ends as a clean
            HTTP 200), or the shards are not those of the collection. Discard what was yielded before.
    """
    documents = collection_documents(config, payload_schema, shard_keys)
    found: list[int] = []
    for shard_id, chunks in shards:
        if shard_id < 0 or (found and shard_id <= found[-1]):
            raise IntegrityFailed(
                "The collection's archive cannot be composed", why=f"shard {shard_id} comes out of order"
            )
        found.append(shard_id)
        yield from _prefixed(chunks, shard_id, limits)
    try:
        decoded = msgspec.json.decode(documents["config.json"], type=dict[str, Any])
        check_shard_ids(found, config=decoded, shard_keys=(shard_keys or {}).items())
    except ValueError as error:
        raise IntegrityFailed("The collection's archive cannot be composed", why=str(error)) from None
    yield b"".join(tar.file_member(name, content) for name, content in documents.items()) + tar.END_BLOCKS


def _prefixed(chunks: Iterable[bytes], shard_id: int, limits: Limits) -> Iterator[bytes]:
    def renamed(entry: Entry) -> str:
        return f"{shard_id}/{entry.name}"

    name = f"shard {shard_id}'s archive"
    walker = ArchiveWalker(kind="shard", limits=limits, name=name)
    rewriter = Rewriter(renamed, limits=limits, name=name)
    for chunk in chunks:
        walker.feed(chunk)
        if piece := rewriter.feed(chunk):
            yield piece
    walker.finish()
