"""A command that runs to its end, with what it took."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from support.command import Ran

__all__ = ["Watched", "watch"]


@dataclasses.dataclass(frozen=True)
class Watched:
    """How a command ended.

    Attributes:
        ran: its exit code and streams; a code below 0 is a signal.
        peak_bytes: the largest resident memory of it or of a process that it waited for; None when somebody else asked
            for its end before.
        in_time: it ended by itself before its deadline.
    """

    ran: Ran
    peak_bytes: int | None
    in_time: bool


class _Stream(threading.Thread):
    def __init__(self, source: Any) -> None:
        super().__init__(daemon=True)
        self._source = source
        self.text = ""
        self.start()

    def run(self) -> None:
        if self._source is not None:
            with self._source:
                self.text = self._source.read()


def watch(process: subprocess.Popen[str], deadline_s: float, during: Callable[[Any], None] | None) -> Watched:
    """Wait until the process has ended, and end it when that takes too long."""
    streams = [_Stream(process.stdout), _Stream(process.stderr)]
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    alarm = threading.Timer(deadline_s, give_up)
    alarm.start()
    try:
        if during is not None:
            during(process)
        peak_bytes = _reap(process)
    finally:
        alarm.cancel()
        if process.returncode is None:
            process.kill()
            process.wait()
    for stream in streams:
        stream.join(30)
    ran = Ran(int(process.returncode or 0), streams[0].text, streams[1].text)
    return Watched(ran, peak_bytes, not late.is_set())


def _reap(process: subprocess.Popen[str]) -> int | None:
    """Wait for the end; the peak memory, which only the first to ask is told."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except ChildProcessError:
        process.wait()
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * 1024
