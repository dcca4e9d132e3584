"""A command that runs to its end, with what it took."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.command import Ran

__all__ = ["Watched", "watch"]

_LOOK_S = 0.1


@dataclasses.dataclass(frozen=True)
class Watched:
    """How a command ended.

    Attributes:
        ran: its exit code and streams; a code below 0 is a signal.
        peak_bytes: the largest resident memory of it or of a process below it; None where the system does not say.
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


class _Memory(threading.Thread):
    """Looks again and again how much memory a process and those below it have had at most.

    What `wait4` says is no use: the peak of the process that forked, here a large one, is counted as the child's.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.peak_bytes: int | None = None
        self.start()

    def run(self) -> None:
        while True:
            for pid in _tree(self._pid):
                self.peak_bytes = max(self.peak_bytes or 0, _peak_bytes(pid)) or None
            if self._ended.wait(_LOOK_S):
                return

    def end(self) -> int | None:
        """Look no more; the largest that was seen."""
        self._ended.set()
        self.join()
        return self.peak_bytes


def _tree(pid: int) -> Iterator[int]:
    """The process and those below it, as far as they live long enough to be found."""
    yield pid
    threads: list[Path] = []
    with contextlib.suppress(OSError):
        threads = list(Path("/proc", str(pid), "task").iterdir())
    for thread in threads:
        children: list[str] = []
        with contextlib.suppress(OSError):
            children = (thread / "children").read_text().split()
        for child in children:
            yield from _tree(int(child))


def _peak_bytes(pid: int) -> int:
    """0 for a process that has ended, and where the system has no such file."""
    with contextlib.suppress(OSError):
        for line in Path("/proc", str(pid), "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def watch(process: subprocess.Popen[str], deadline_s: float, during: Callable[[Any], None] | None) -> Watched:
    """Wait until the process has ended, and end it when that takes too long."""
    streams = [_Stream(process.stdout), _Stream(process.stderr)]
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    memory = _Memory(process.pid)
    alarm = threading.Timer(deadline_s, give_up)
    alarm.start()
    try:
        if during is not None:
            during(process)
        process.wait()
    finally:
        alarm.cancel()
        if process.returncode is None:
            process.kill()
            process.wait()
        peak_bytes = memory.end()
    for stream in streams:
        stream.join(30)
    ran = Ran(int(process.returncode or 0), streams[0].text, streams[1].text)
    return Watched(ran, peak_bytes, not late.is_set())
