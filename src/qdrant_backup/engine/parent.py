"""The parent's side of a child process: feeds it, listens to it, and never waits for one that is dead or stuck."""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from qdrant_backup.engine.forked import CAN_FORK, Forked, fork
from qdrant_backup.engine.wire import LARGEST_FRAME_BYTES, Alive, Answer, Done, Failed, Job, frame_head
from qdrant_backup.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Child"]

_MOST_QUEUED_BYTES = 8 << 20
_LONGEST_LINE_BYTES = 64 << 20
_LAST_WORDS_BYTES = 8 << 10
_READ_BYTES = 64 << 10
_PIPE_BYTES = 1 << 20
_FAREWELL_S = 10.0

_START = "import sys; sys.path[:0] = sys.argv[1:]; from qdrant_backup.engine.child import main; main()"
_NEEDED = ("qdrant_backup", "qdrant_edge", "msgspec", "blake3")


def _import_paths() -> list[str]:
    """Where the child finds what it imports: the directories this process found them in, and no others."""
    found: dict[str, None] = {}
    for name in _NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found[str(Path(spec.origin).resolve().parent.parent)] = None
    return list(found)


def _environment() -> dict[str, str]:
    """Nothing of ours: keys and addresses stay here. Windows programs do not start without the system's directory."""
    if os.name != "nt":
        return {}
    return {"SYSTEMROOT": os.path.expandvars("%SYSTEMROOT%")}


def _spawn() -> subprocess.Popen[bytes] | Forked:
    if CAN_FORK:
        with contextlib.suppress(OSError):
            return fork(_import_paths())
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, *_import_paths()]
    return subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
        pipesize=_PIPE_BYTES,
    )


class Child:
    """A running child. All methods are for one thread; three threads of its own do the reading and writing.

    Args:
        job: what it is to do.

    Raises:
        OSError: the process, or a thread that it needs, cannot be started.
    """

    def __init__(self, job: Job) -> None:
        self._silence_s = job.limits.silence_s
        self._process = _spawn()
        self._news = threading.Condition()
        self._version = 0
        opening = memoryview(msgspec.json.encode(job) + b"\n")
        self._queue = collections.deque([opening])
        self._queued_bytes = len(opening)
        self._answer: Done | Failed | None = None
        self._deaf = False
        self._mute = False
        self._last_words = b""
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._write, self._listen, self._overhear)
        ]
        try:
            for thread in self._threads:
                start(thread)
        except BaseException:
            self._threads = [thread for thread in self._threads if thread.ident]
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The end of its standard error, once it has ended."""
        return self._last_words.decode(errors="replace").strip()

    def _pipe(self, stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:
            msg = "the child was started without pipes"
            raise RuntimeError(msg)
        return stream

    # What the three threads do. Each ends by itself once the child is dead, since its pipe then breaks or ends.

    def _write(self) -> None:
        pipe = self._pipe(self._process.stdin)
        while True:
            with self._news:
                self._news.wait_for(lambda: self._queue or self._deaf)
                if self._deaf:
                    return
                piece = self._queue.popleft()
            try:
                rest = piece
                while rest:
                    rest = rest[pipe.write(rest) :]
            except OSError:
                self._tell(deaf=True)
                return
            self._tell(written_bytes=len(piece))

    def _listen(self) -> None:
        pipe = self._pipe(self._process.stdout)
        line = b""
        while piece := pipe.read(_READ_BYTES):
            *lines, line = (line + piece).split(b"\n")
            if len(line) > _LONGEST_LINE_BYTES:
                self._process.kill()
                break
            for complete in lines:
                self._hear(complete)
        self._tell(mute=True)

    def _hear(self, line: bytes) -> None:
        try:
            answer = msgspec.json.decode(line, type=Answer)
        except msgspec.MsgspecError as error:
            answer = Failed("bug", "The engine's child process failed", f"its answer makes no sense: {error}")
        with self._news:
            if not isinstance(answer, Alive) and self._answer is None:
                self._answer = answer
            self._version += 1
            self._news.notify_all()

    def _overhear(self) -> None:
        pipe = self._pipe(self._process.stderr)
        while piece := pipe.read(_READ_BYTES):
            self._last_words = (self._last_words + piece)[-_LAST_WORDS_BYTES:]

    def _tell(self, *, written_bytes: int = 0, deaf: bool = False, mute: bool = False) -> None:
        with self._news:
            self._queued_bytes -= written_bytes
            self._deaf |= deaf
            self._mute |= mute
            self._version += 1
            self._news.notify_all()

    # What the owner calls.

    def _until(self, condition: Callable[[], object], quiet_s: float) -> bool:
        """Wait for the condition as long as anything moves at all; False when nothing did for `quiet_s`."""
        while not condition():
            seen = self._version
            if not self._news.wait_for(lambda seen=seen: self._version != seen, timeout=quiet_s):
                return False
        return True

    def feed(self, chunk: bytes) -> bool:
        """Queue bytes of the archive; waits while a lot is queued.

        Returns:
            False when the child takes nothing any more: it has answered, died, or been silent for too long.
        """
        view = memoryview(chunk)
        for at in range(0, len(view), LARGEST_FRAME_BYTES):
            piece = view[at : at + LARGEST_FRAME_BYTES]
            if not self._queue_frame(frame_head(len(piece)), piece):
                return False
        return True

    def end_feed(self) -> bool:
        """Queue the archive's end; returns as `feed` does."""
        return self._queue_frame(frame_head(0), memoryview(b""))

    def _queue_frame(self, head: bytes, piece: memoryview) -> bool:
        with self._news:
            room = self._until(
                lambda: self._queued_bytes < _MOST_QUEUED_BYTES or self._deaf or self._answer, self._silence_s
            )
            if not room or self._deaf or self._answer:
                return False
            self._queue.append(memoryview(head))
            self._queue.append(piece)
            self._queued_bytes += len(head) + len(piece)
            self._news.notify_all()
        return True

    def await_answer(self, quiet_s: float) -> Done | Failed | None:
        """The child's answer; None when it died without one. `TimeoutError` when it was silent for `quiet_s`."""
        with self._news:
            if not self._until(lambda: self._answer or self._mute, quiet_s):
                raise TimeoutError
            return self._answer

    def await_end(self) -> int:
        """The exit code of a child whose answer came, or that died; one that lingers is killed."""
        try:
            return self._process.wait(self._silence_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        """Kill it unless it has ended, and let go of its pipes and threads."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._tell(deaf=True)
        for thread in self._threads:
            # Bounded: a process forked elsewhere at the wrong moment may hold a pipe's other end.
            thread.join(_FAREWELL_S)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
