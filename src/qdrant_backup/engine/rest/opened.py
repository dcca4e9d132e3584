"""The child process that serves opened snapshots, for reading only; `wire.py` has what it and its parent say.

Everything in here runs on files that a snapshot brought along. The process has a bounded address space, cannot write a
file larger than those it opened and a little more, and ends with its parent.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from qdrant_backup.clock import SystemClock
from qdrant_backup.engine.rest.app import VERSION, create_app
from qdrant_backup.engine.rest.registry import Record, Registry, replace_file
from qdrant_backup.engine.rest.schema import schema_entry
from qdrant_backup.engine.rest.serve import listening_on, serve_app
from qdrant_backup.engine.rest.shards import Shard
from qdrant_backup.engine.rest.storage import Storage
from qdrant_backup.engine.unsynced import spare_disk_waits
from qdrant_backup.engine.verdict import failed_from
from qdrant_backup.engine.wire import Failed, ServeJob, Serving, ServingAnswer
from qdrant_backup.errors import ContentUnreadable, IntegrityFailed

if TYPE_CHECKING:
    from qdrant_backup.engine.rest.collection import Collection
    from qdrant_backup.engine.wire import Served

try:
    import resource
except ImportError:  # Windows has no such limits; the deadlines hold there alone.
    resource = None

__all__ = ["main"]

_GUARD_MORE_S = 30.0
_FILE_HEADROOM_BYTES = 1 << 30


def _settle() -> None:
    os.umask(0o077)
    # Ctrl-C reaches the whole foreground group; the parent decides what becomes of its child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The cache takes nothing for granted that another boot of the system unpacked (`cache.py`).
    spare_disk_waits()


def _bound(kind: int, wanted: int) -> None:
    if resource is None:
        return
    _, hard = resource.getrlimit(kind)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (limit, limit))


def _limit(job: ServeJob) -> None:
    """Bound the address space, in which mapped files count, and the size of files."""
    if resource is None:
        return
    cores = os.cpu_count() or 1
    room = job.apparent_bytes + job.limits.headroom_bytes + cores * job.limits.per_core_bytes
    _bound(resource.RLIMIT_AS, room)
    _bound(resource.RLIMIT_FSIZE, job.apparent_bytes + _FILE_HEADROOM_BYTES)


def _end_with_parent(source: BinaryIO) -> None:
    """The pipe ends when the parent does, however that came; nothing here is worth a farewell then."""

    def await_end() -> None:
        source.read(1)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    threading.Thread(target=await_end, daemon=True).start()


def _segments(shard: Path) -> set[str]:
    directory = shard / "segments"
    return {child.name for child in directory.iterdir() if child.is_dir()} if directory.is_dir() else set()


def _open(collection: Collection, served: Served) -> None:
    """Open every shard now, so that damage shows before anybody asks."""
    if not served.config["params"].get("vectors") and not served.config["params"].get("sparse_vectors"):
        raise ContentUnreadable(
            "The embedded engine cannot open the snapshot", why="the collection has no vectors, only payloads"
        )
    shards = [Path(served.directory, name) for name in served.shards]
    collection.shards = [Shard(path, collection.record) for path in shards]
    usual = [str(number) for number in range(len(shards))]
    collection.scattered = served.keyed or served.shards != usual or len(shards) != collection.record.shards
    for path, shard in zip(shards, collection.shards, strict=True):
        before = _segments(path)
        shard.load()
        dropped = sorted(before - _segments(path))
        if dropped:
            raise IntegrityFailed(
                "The snapshot is damaged", why=f"the engine refuses segment {dropped[0]} and deleted it"
            )


def _storage(job: ServeJob) -> Storage:
    """A storage whose collections lie where they were unpacked."""
    data = Path(job.data)
    # `Storage` joins the record's directory to its own, and an absolute path stays what it is.
    records = {one.name: Record(one.directory, one.config, {}) for one in job.collections}
    replace_file(data / "registry.json", msgspec.json.encode(Registry(1, records, job.aliases)))
    return Storage(data, SystemClock())


def _opened(job: ServeJob) -> Storage | Failed:
    """Everything open, or what stands against it."""
    at = ""
    try:
        storage = _storage(job)
        for served in job.collections:
            at = served.name
            collection = storage.collections[served.name]
            _open(collection, served)
            collection.record.schema = {field: schema_entry(given) for field, given in served.schema.items()}
    except BaseException as error:  # noqa: BLE001 - the engine's panics are no `Exception`
        failed = failed_from(error)
        return Failed(failed.kind, failed.what, failed.why, at)
    return storage


@dataclasses.dataclass(frozen=True)
class _Parent:
    """The parent's end of the protocol."""

    answers: int

    def tell(self, answer: ServingAnswer) -> None:
        os.write(self.answers, msgspec.json.encode(answer) + b"\n")


def _serve(job: ServeJob, parent: _Parent) -> None:
    try:
        listening = listening_on(job.host, job.port)
    except OSError as error:
        parent.tell(Failed("port", f"Port {job.port} of {job.host} cannot be listened on", str(error)))
        return
    with listening:
        opened = _opened(job)
        faulthandler.cancel_dump_traceback_later()
        if isinstance(opened, Failed):
            parent.tell(opened)
            return
        app = create_app(opened, api_key=job.api_key, version=VERSION, read_only=True)
        serve_app(app, listening, {}, lambda bound: parent.tell(Serving(bound)))


def main() -> None:
    """Serve what the job says until the parent wants no more."""
    _settle()
    answers = os.dup(1)
    # Whatever prints, in any language, must not garble the answers.
    os.dup2(2, 1)
    faulthandler.enable()
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    line = source.readline()
    if not line:
        return  # There was nothing to serve after all.
    job = msgspec.json.decode(line, type=ServeJob)
    # An engine's call that never returns holds the interpreter too; this ends it all the same.
    faulthandler.dump_traceback_later(job.deadline_s + _GUARD_MORE_S, exit=True)
    _end_with_parent(source)
    _limit(job)
    _serve(job, _Parent(answers))
