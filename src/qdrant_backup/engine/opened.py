"""Opened snapshots as the rest of the program sees them: archives go in, a server on this machine comes out.

    openings = Openings(Path("~/.cache/qdrant-backup"), most_bytes=20 << 30)
    with openings.served([Wanted("discussions", source)], api_key="...") as opened:
        opened.port

The server speaks Qdrant's REST API and refuses to write. It is a child process with bounds on its memory, its files and
its time to open; `cache.py` keeps what it opened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from qdrant_backup.engine.cache import ArchiveSource, Cache
from qdrant_backup.engine.scratch import private_directory
from qdrant_backup.engine.verdict import error_from, error_of_death
from qdrant_backup.engine.wire import Failed, Limits, Served, ServeJob, Serving, ServingAnswer
from qdrant_backup.errors import ContentUnreadable, IntegrityFailed, InternalError, NotWritable, QdrantBackupError
from qdrant_backup.model import NO_PROGRESS
from qdrant_backup.threads import start

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from qdrant_backup.engine.cache import Entry, Place
    from qdrant_backup.model import Progress

__all__ = ["ArchiveSource", "Opened", "Openings", "Wanted"]

LOOPBACK = "127.0.0.1"
_START = "import sys; sys.path[:0] = sys.argv[1:]; from qdrant_backup.engine.rest.opened import main; main()"
_NEEDED = (
    "qdrant_backup",
    "qdrant_edge",
    "msgspec",
    "starlette",
    "uvicorn",
    "h11",
    "anyio",
    "idna",
    "click",
    "python_multipart",
    "typing_extensions",
    "exceptiongroup",
)
_LAST_WORDS_BYTES = 8 << 10
_LONGEST_ANSWER_BYTES = 1 << 20
_FULL_BELOW_BYTES = 16 << 20
_SERVING_HEADROOM_BYTES = 4 << 30


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A snapshot that is to be served under a collection's name."""

    name: str
    source: ArchiveSource


def _import_paths() -> list[str]:
    """Where the child finds what it imports: the directories this process found them in, and no others."""
    found: dict[str, None] = {}
    for name in _NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            inside = spec.submodule_search_locations is not None
            place = Path(spec.origin).resolve().parent
            found[str(place.parent if inside else place)] = None
    return list(found)


def _environment() -> dict[str, str]:
    """Nothing of ours: keys and addresses stay here. Windows programs do not start without the system's directory."""
    if os.name != "nt":
        return {}
    return {"SYSTEMROOT": os.path.expandvars("%SYSTEMROOT%")}


class _Child:
    """A serving child process; it gets ready while its job is still being found out."""

    def __init__(self, locks: Sequence[int]) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, *_import_paths()],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                env=_environment(),
                pass_fds=() if os.name == "nt" else tuple(locks),
                start_new_session=True,
            )
        except OSError as error:
            self._words.close()
            raise NotWritable("The engine's child process does not start", why=str(error)) from error

    def begin(self, job: ServeJob) -> None:
        """Tell it what to serve."""
        with contextlib.suppress(OSError):  # It has died; what it said is read with its answer.
            self._pipe(self._process.stdin).write(msgspec.json.encode(job) + b"\n")

    @property
    def pid(self) -> int:
        return self._process.pid

    def _pipe(self, stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:
            msg = "the child was started without pipes"
            raise RuntimeError(msg)
        return stream

    def answer(self, deadline_s: float) -> ServingAnswer | None:
        """What it says first; None when it died without a word.

        Raises:
            TimeoutError: nothing came in time.
            NotWritable: no thread can be started that would notice that.
        """
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(deadline_s, give_up)
        try:
            start(timer)
        except OSError as error:
            raise NotWritable(
                "The engine's child process cannot be watched", why=error.strerror or str(error)
            ) from error
        try:
            line = self._line()
        finally:
            timer.cancel()
        if late.is_set():
            raise TimeoutError
        if not line:
            return None
        try:
            return msgspec.json.decode(line, type=ServingAnswer)
        except msgspec.MsgspecError as error:
            return Failed("bug", "The engine's child process failed", f"its answer makes no sense: {error}")

    def _line(self) -> bytes:
        pipe = self._pipe(self._process.stdout)
        line = b""
        while not line.endswith(b"\n") and len(line) < _LONGEST_ANSWER_BYTES:
            piece = pipe.read(1 << 16)
            if not piece:
                return b""
            line += piece
        return line

    def death(self, directory: Path) -> QdrantBackupError:
        """The error for a child that ended by itself."""
        code = self._process.wait()
        return error_of_death(code, self.last_words(), disk_full=shutil.disk_usage(directory).free < _FULL_BELOW_BYTES)

    def last_words(self) -> str:
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, self._words.tell() - _LAST_WORDS_BYTES))
        return self._words.read().decode(errors="replace").strip()

    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        return self._process.wait()

    def close(self) -> None:
        """End it at once: it only reads, so it has nothing to say farewell to, and flushing would take its time."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._words):
            if stream is not None:
                stream.close()


@dataclasses.dataclass(frozen=True)
class Opened:
    """A running server on opened snapshots.

    Attributes:
        host: the address it listens on.
        port: its REST port.
        directories: by served name, a directory of this process's own that stays: for what is computed from a
            collection and worth keeping.
        pid: the child's process id.
    """

    host: str
    port: int
    directories: Mapping[str, Path]
    pid: int
    _child: _Child
    _root: Path

    def death(self) -> QdrantBackupError | None:
        """How the server ended, if it has."""
        return self._child.death(self._root) if self._child.ended() else None

    def wait(self) -> None:
        """Wait until the server ends by itself, which it should not.

        Raises:
            QdrantBackupError: how it ended.
        """
        self._child.wait()
        raise self._child.death(self._root)


class Openings:
    """Opens snapshots and serves them.

    Args:
        root: the cache's directory; made when something is opened.
        most_bytes: what the cache may take of the disk.
        silence_s: how long opening may take, on top of what the archives' sizes explain.
        headroom_bytes: how much address space a server gets beyond the files that it maps.
    """

    def __init__(
        self,
        root: Path,
        *,
        most_bytes: int = 20 << 30,
        silence_s: float = 300.0,
        headroom_bytes: int = _SERVING_HEADROOM_BYTES,
    ) -> None:
        self._cache = Cache(root, most_bytes)
        self._limits = Limits(headroom_bytes=headroom_bytes, silence_s=silence_s)

    @contextlib.contextmanager
    def served(
        self,
        wanted: Sequence[Wanted],
        *,
        api_key: str | None,
        aliases: Mapping[str, str] | None = None,
        host: str = LOOPBACK,
        port: int = 0,
        progress: Progress = NO_PROGRESS,
    ) -> Generator[Opened]:
        """Open snapshots and serve them, for reading only, until the context is left.

        Args:
            wanted: the snapshots and their names.
            api_key: the key that reading takes; None lets everybody on this machine read.
            aliases: further names for the served names.
            host: the address to listen on.
            port: the port; 0 for a free one.
            progress: sees the bytes that are unpacked.

        Raises:
            IntegrityFailed: a snapshot is damaged or hostile; `collection` says which.
            ContentUnreadable: the engine cannot open it, or took too long.
            InsufficientSpace: the disk or the cache has no room.
            NotWritable: the cache cannot be written, or the port is taken.
        """
        with contextlib.ExitStack() as stack:
            places = self._places(wanted, stack)
            data = stack.enter_context(private_directory(self._cache.root))
            given = (dict(aliases or {}), host, port, api_key)
            child, serving = self._started(places, data, given, progress, stack)
            directories = {name: place.path for name, place in places.items()}
            yield Opened(host, serving.port, directories, child.pid, child, self._cache.root)

    def _places(self, wanted: Sequence[Wanted], stack: contextlib.ExitStack) -> dict[str, Place]:
        """The copies' places by name; `stack` releases them at its end."""
        places: dict[str, Place] = {}
        for one in wanted:
            places[one.name] = self._cache.place(one.source)
            stack.callback(places[one.name].release)
        return places

    def _entry(self, name: str, place: Place, progress: Progress) -> Entry:
        try:
            return self._cache.entry(place, progress)
        except QdrantBackupError as error:
            raise error.at("open", name) from None

    def _started(
        self,
        places: Mapping[str, Place],
        data: Path,
        given: tuple[dict[str, str], str, int, str | None],
        progress: Progress,
        stack: contextlib.ExitStack,
    ) -> tuple[_Child, Serving]:
        """A child that serves. A copy of an earlier run that does not open is made anew, once: it may be the copy's fault."""
        while True:
            child = _Child([place.lock_descriptor for place in places.values()])
            ended = contextlib.ExitStack()
            ended.callback(child.close)
            with ended:
                entries = {name: self._entry(name, place, progress) for name, place in places.items()}
                child.begin(self._job(entries, data, given))
                answer = self._answer(child, entries)
                if isinstance(answer, Serving):
                    stack.push(ended.pop_all())
                    return child, answer
            suspects = [name for name, entry in entries.items() if not entry.fresh and answer.collection in {"", name}]
            if answer.kind not in {"damaged", "unreadable"} or not suspects:
                raise error_from(answer).at("open", answer.collection or None)
            for name in suspects:
                self._cache.discard(places[name])

    def _job(
        self, entries: Mapping[str, Entry], data: Path, given: tuple[dict[str, str], str, int, str | None]
    ) -> ServeJob:
        aliases, host, port, api_key = given
        facts = [entry.facts for entry in entries.values()]
        return ServeJob(
            str(data),
            [
                Served(
                    name,
                    str(entry.collection),
                    entry.facts.shards,
                    entry.facts.config,
                    entry.facts.schema,
                    entry.facts.keyed,
                )
                for name, entry in entries.items()
            ],
            aliases,
            host,
            port,
            api_key,
            sum(one.apparent_bytes for one in facts),
            self._limits.quiet_s(sum(one.archive_bytes for one in facts)),
            self._limits,
        )

    def _answer(self, child: _Child, entries: Mapping[str, Entry]) -> ServingAnswer:
        deadline_s = self._limits.quiet_s(sum(entry.facts.archive_bytes for entry in entries.values()))
        try:
            answer = child.answer(deadline_s)
        except TimeoutError:
            raise ContentUnreadable(
                "The embedded engine cannot open the backup",
                why=f"it was not open after {deadline_s:.0f} seconds, and its process was ended",
                advice="Raise SNAPSHOT_UPLOAD_TIMEOUT if this machine is slow.",
            ) from None
        if answer is not None:
            return answer
        death = child.death(self._cache.root)
        if isinstance(death, IntegrityFailed):
            return Failed("damaged", death.what, death.why)  # Perhaps of a spoiled copy.
        if isinstance(death, InternalError) and not child.last_words():
            death.why += " without a word"
        raise death
