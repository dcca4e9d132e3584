"""The snapshot tar format: walk, prove, compose and split archives as they stream by. Bytes in, bytes out.

    walk.ArchiveWalker(visitor=None, *, kind=None, expected_shards=None, limits=Limits(), name="the archive")
        .feed(chunk) -> None            any partition of the archive's bytes; slices reach the visitor uncopied
        .finish() -> ArchiveReport      after the last byte; IntegrityFailed for anything hostile, damaged or missing
    walk.Visitor                        member(Member), data(offset, view), end_member(): what an unpacker implements
    walk.Member                         name, size_bytes, mode, is_directory, extents
    report.ArchiveReport                kind, shards, segments, config, payload schema, shard keys, sizes
    compose.compose_collection(shards, *, config, payload_schema, shard_keys=None) -> Iterator[bytes]
    split.split_shard(chunks, shard_id) -> Iterator[bytes]
    tar                                 headers: `file_member`, `file_header`, `directory_header`, `sparse_header`, `END_BLOCKS`

A segment's own archive (`0/segments/{uuid}.tar`) is walked inside the stream, and both forms of a segment give the same
names: `0/segments/{uuid}/<path>`, without `snapshot/` and `files/`. A directory of that shape is what the engine opens.

Facts: `lib/segment/src/segment/snapshot.rs`, `lib/segment/src/segment/segment_ops.rs` and
`lib/common/common/src/tar_unpack.rs` of Qdrant 1.18.3, and the `tar` crate that it reads and writes with.
"""
