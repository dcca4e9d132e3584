"""The embedded engine: unpack a snapshot, open it in a guarded child process, take its digest.

opening.unpack_archive(chunks, directory, wanted=all) -> ArchiveReport
opening.shard_directories(directory) -> list[Path]
engine.Engine(scratch=..., silence_s=..., headroom_bytes=..., halve_from_bytes=..., with_indexes=...)
    .open_digest(target, name=...) -> context manager of a DigestSink: write(chunk), finish() -> Digested
    .digest_file(archive, target, progress) -> Digested
opened.Openings(root, most_bytes=..., silence_s=..., headroom_bytes=...)
    .served(wanted, api_key=..., ...) -> context manager of `Opened`: a read-only server on opened snapshots; `cache.py` keeps them
child           the child process itself; `wire.py` is what it and `parent.py` say to each other
nursery         what children are forked from on Linux; `forked.py` is its other side
rest            the embedded server
"""
