"""Children from the nursery (`nursery.py`), which is started with the first of them and ends with this process."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, cast

from qdrant_backup.engine.wire import END, PID

if TYPE_CHECKING:
    from collections.abc import Sequence

try:
    import fcntl
except ImportError:  # Windows, which cannot fork either.
    fcntl = None

__all__ = ["CAN_FORK", "Forked", "fork"]

CAN_FORK = sys.platform.startswith("linux") and hasattr(os, "pidfd_open")
"""Elsewhere system libraries forbid to fork after they were loaded, or nothing can be forked at all."""

_READY_S = 60.0
_FAREWELL_S = 10.0
_PIPE_BYTES = 1 << 20
_START = "import sys; sys.path[:0] = sys.argv[1:]; from qdrant_backup.engine.nursery import main; main()"


class Forked:
    """A child: what its owner needs of `subprocess.Popen`, with the same meanings.

    Attributes:
        pid: its process id, which no other process gets before its end was learned.
        stdin: unbuffered, as the two others.

    Raises:
        OSError: the system gives no handle to kill it by.
    """

    def __init__(self, pid: int, line: socket.socket, streams: Sequence[IO[bytes]]) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)
        self.stdin, self.stdout, self.stderr = streams
        self._line = line
        self._code: int | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code once it has ended; for any thread. Raises TimeoutExpired.

        When the nursery has died nobody can say, and it is killed.
        """
        # The end is said once: of two threads that listen, the second would wait for ever.
        if not self._turn.acquire(timeout=-1 if timeout is None else timeout):
            raise subprocess.TimeoutExpired("the engine's child", timeout or 0)
        try:
            return self._end(timeout)
        finally:
            self._turn.release()

    def _end(self, timeout: float | None) -> int:
        if self._code is None:
            self._line.settimeout(timeout)
            try:
                said = self._line.recv(END.size)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("the engine's child", timeout or 0) from None
            except OSError:
                said = b""
            if not said:
                self.kill()
            with self._lock:
                self._code = END.unpack(said)[0] if said else -signal.SIGKILL
                self._line.close()
                os.close(self._handle)
        return cast("int", self._code)

    def kill(self) -> None:
        """SIGKILL, unless its end is known; for any thread."""
        with self._lock:
            if self._code is None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._handle, signal.SIGKILL)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    if fcntl is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # a user has only so much of it
            fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return ends


def _pid_on(line: socket.socket) -> int:
    line.settimeout(_READY_S)
    said = line.recv(PID.size)
    if not said:
        raise ConnectionResetError("the nursery has died")
    return PID.unpack(said)[0]


class _Nursery:
    """The process, seen from here."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, *paths],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
            )
        atexit.register(self._end, os.getpid())

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def fork(self) -> Forked:
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            ends: list[int] = []
            streams: list[IO[bytes]] = []
            for mode in ("wb", "rb", "rb"):
                reader, writer = _pipe()
                mine, other = (writer, reader) if mode == "wb" else (reader, writer)
                theirs.callback(os.close, other)
                ends.append(other)
                streams.append(ours.enter_context(os.fdopen(mine, mode, 0)))
            line, other_line = socket.socketpair()
            ours.callback(line.close)
            theirs.callback(other_line.close)
            with self._lock:
                socket.send_fds(self._socket, [b"+"], [*ends, other_line.fileno()])
            theirs.close()
            child = Forked(_pid_on(line), line, streams)
            ours.pop_all()
        return child

    def _end(self, owner: int) -> None:
        self._socket.close()
        if os.getpid() != owner:
            return
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_nurseries: dict[int, _Nursery] = {}
_only_one = threading.Lock()


def fork(paths: Sequence[str]) -> Forked:
    """A child that runs `child.main` with nothing of this process's environment.

    Args:
        paths: where it finds what it imports.

    Raises:
        OSError: there is no nursery, and none can be started; start a child without it.
    """
    os.close(os.pidfd_open(os.getpid()))  # old kernels and some sandboxes refuse
    with _only_one:
        # One that a copy of this process got by a fork is its original's.
        nursery = _nurseries.get(os.getpid())
        if nursery is None or not nursery.alive:
            nursery = _nurseries[os.getpid()] = _Nursery(paths)
    return nursery.fork()
