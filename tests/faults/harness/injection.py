"""System calls that fail, by strace's fault injection: what no Python-level fake can reach."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Injection", "calls_made", "injected"]

_CALL = re.compile(r"^(?:\[pid\s+\d+\] |\d+\s+)?(\w+)\(")


@dataclasses.dataclass(frozen=True)
class Injection:
    """What strace does to a command.

    Attributes:
        calls: system calls as strace names them: `write,fsync`; `?name` is one that a machine may lack.
        fault: what happens to them: `error=EIO`, `signal=SIGKILL`, `retval=10`, with strace's `:when=` expression.
        below: only calls that touch this path, or a file of this name below the backup directory; empty: all calls.
    """

    calls: str
    fault: str
    below: Sequence[str] = ()

    def command(self, program: Sequence[str], log: Path) -> list[str]:
        """The program under strace."""
        paths = [word for path in self.below for word in ("-P", path)]
        return [
            "strace", "-f", "-qq", "-o", os.fspath(log), *paths,
            "-e", f"trace={self.calls}", "-e", f"inject={self.calls}:{self.fault}",
            *program,
        ]  # fmt: skip


def injected(log: Path) -> int:
    """How many calls strace changed or killed at."""
    text = log.read_text("utf-8", "replace")
    return text.count("(INJECTED)") + text.count("+++ killed by SIGKILL +++")


def calls_made(log: Path) -> list[str]:
    """The system calls of a log, by name, in order."""
    found = (_CALL.match(line) for line in log.read_text("utf-8", "replace").splitlines())
    return [match[1] for match in found if match]
