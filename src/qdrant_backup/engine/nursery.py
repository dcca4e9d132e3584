"""The process from which children are forked on Linux: it has imported what they need, and knows nothing of their jobs.

An interpreter and its imports cost several times what a small snapshot's digest does. A forked child is a process of its
own as a started one is, with its own limits and its own death, and it inherits no secret: this process got none, opens
nothing, and has no threads. `forked.py` has the other side. On the socket between them come four descriptors for each
child: its three streams, and its line, on which its process id is written and at last its end.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import traceback
from typing import TYPE_CHECKING, NoReturn

from qdrant_backup.engine import child
from qdrant_backup.engine.wire import END, PID

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["main"]

_STREAMS = 3
_WAKE_BYTES = 512


def _heard(_number: int, _frame: FrameType | None) -> None:
    """A signal without a Python function for it would not wake the loop."""


class _Nursery:
    """Forks, and says who has ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._lines: dict[int, socket.socket] = {}
        self._ended: set[int] = set()
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        for watched in (requests, self._wake):
            self._selector.register(watched, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, _heard)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)

    def run(self) -> None:
        """Until the other side is gone, which the children see by themselves."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._requests:
                    if not self._fork():
                        return
                elif key.fileobj == self._wake:
                    os.read(self._wake, _WAKE_BYTES)
                else:
                    self._let_go(key.data)
            self._look()

    def _fork(self) -> bool:
        said, descriptors, _, _ = socket.recv_fds(self._requests, 1, _STREAMS + 1)
        if not said:
            return False
        *streams, line = descriptors
        pid = os.fork()
        if not pid:
            self._be_child(streams, line)
        for stream in streams:
            os.close(stream)
        self._lines[pid] = socket.socket(fileno=line)
        self._selector.register(self._lines[pid], selectors.EVENT_READ, pid)
        self._tell(pid, PID.pack(pid))
        return True

    def _be_child(self, streams: list[int], line: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            for descriptor in (*streams, line, self._wake, self._woken):
                os.close(descriptor)
            for opened in (self._selector, self._requests, *self._lines.values()):
                opened.close()
            child.main()
        finally:
            # What was raised must not climb into this copy of the loop.
            traceback.print_exc()
            os._exit(1)  # noqa: TID251 - a process of its own, as child.py is

    def _tell(self, pid: int, said: bytes) -> None:
        with contextlib.suppress(OSError):  # whoever has let go of the line asks no more
            self._lines[pid].send(said, socket.MSG_NOSIGNAL)

    def _look(self) -> None:
        """Say who has ended. Nobody is buried whose line is held: no other process may get an id that may be killed."""
        for pid in self._lines.keys() - self._ended:
            end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is not None:
                self._ended.add(pid)
                self._tell(pid, END.pack(end.si_status if end.si_code == os.CLD_EXITED else -end.si_status))
                if self._lines[pid] not in self._selector.get_map():
                    self._bury(pid)

    def _let_go(self, pid: int) -> None:
        self._selector.unregister(self._lines[pid])
        if pid in self._ended:
            self._bury(pid)

    def _bury(self, pid: int) -> None:
        os.waitpid(pid, 0)
        self._ended.remove(pid)
        self._lines.pop(pid).close()


def main() -> NoReturn:
    """Serve the socket that is standard input, to its end."""
    # Ctrl-C reaches the whole foreground group; the parent decides what becomes of its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Nursery(socket.socket(fileno=os.dup(0))).run()
    os._exit(0)  # noqa: TID251 - as above
