"""System calls that fail, by strace's fault injection: what no Python-level fake can reach."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["Injection", "Strike", "injected", "shape", "strikes"]

_FIRST_CALL = "execve"
"""What the command's first thread calls before anything else, which says which of the tasks in a log it is."""

_DESCRIPTOR = re.compile(r"^\d+<([^>]*)>")
_NAME = re.compile(r'(?:^|(?:AT_FDCWD|\d+)<[^>]*>, )"((?:[^"\\]|\\.)*)"(?!\.\.\.|, [1-9])')
_CALL = re.compile(r"^(?:(?P<task>\d+)\s+)?(?P<call>\w+)\((?P<rest>.*)")


@dataclasses.dataclass(frozen=True)
class Injection:
    """What strace does to a command.

    Attributes:
        calls: system calls as strace names them: `write,fsync`; `?name` is one that a machine may lack.
        fault: what happens to them: `error=EIO`, `signal=SIGKILL`, `retval=10`, with strace's `:when=` expression. strace
            counts for each process and thread, and each kind of call, on its own. Empty: nothing, they are only noted.
        below: only calls that touch this path, or a file of this name below the backup directory; empty: all calls.
        where: the fault must have met a call whose line in the log contains this, or it never happened.
        watched: calls that are noted besides.
        alone: it is the command's first thread that is meant, not its other threads and its children.
    """

    calls: str
    fault: str = ""
    below: Sequence[str] = ()
    where: str = ""
    watched: str = ""
    alone: bool = False

    def command(self, program: Sequence[str], log: Path) -> list[str]:
        """The program under strace."""
        paths = [word for path in self.below for word in ("-P", path)]
        seen = ",".join(filter(None, (_FIRST_CALL, self.calls, self.watched)))
        # With its filter strace stops at these calls alone, which is faster; it then sends no signals, though.
        speed = ["--seccomp-bpf"] if not self.alone and "signal=" not in self.fault else []
        follow = [] if self.alone else ["-f"]
        faults = ["-e", f"inject={self.calls}:{self.fault}"] if self.fault else []
        return [
            "strace", *follow, *speed, "-y", "-qq", "-e", "signal=SIGKILL", "-o", os.fspath(log), *paths,
            "-e", f"trace={seen}", *faults, *program,
        ]  # fmt: skip


def injected(log: Path, where: str = "") -> int:
    """How many calls strace changed or killed at, of those whose line contains `where`."""
    count, last = 0, dict[str, str]()
    for line in log.read_text("utf-8", "replace").splitlines():
        task = line.partition(" ")[0] if line[:1].isdigit() else ""  # Of one thread alone it notes no number.
        struck = "(INJECTED)" in line or line.endswith("+++ killed by SIGKILL +++")
        count += struck and where in last.get(task, "") + line
        last[task] = line
    return count


@dataclasses.dataclass(frozen=True)
class Strike:
    """A call that a fault can meet: the `number`-th of its kind that the command itself makes.

    Attributes:
        line: what strace wrote of it, from its arguments on.
        among_alike: how many calls of its kind and shape the command had made before it.
    """

    call: str
    number: int
    line: str
    among_alike: int

    @property
    def shape(self) -> str:
        """Which call it is, in every run."""
        return shape(self.line)

    def when(self, *, persistent: bool = False) -> str:
        """Strace's words for it, alone or with all of its kind that follow."""
        return f":when={self.number}{'+' if persistent else ''}"


def strikes(log: Path, where: str) -> Iterator[Strike]:
    """The calls of the first process in a log whose line contains `where`, in their order.

    Those of its threads and children are left out: a second count of their own begins with each.
    """
    main, counts, alike = "", dict[str, int](), dict[tuple[str, str], int]()
    for line in log.read_text("utf-8", "replace").splitlines():
        found = _CALL.match(line)
        if found is None:
            continue
        main = main or found["task"]  # Of one thread alone strace notes no number.
        call = found["call"]
        if found["task"] != main or call == _FIRST_CALL:
            continue
        counts[call] = counts.get(call, 0) + 1
        kind = (call, shape(found["rest"]))
        alike[kind] = alike.get(kind, -1) + 1
        if where in found["rest"]:
            yield Strike(call, counts[call], found["rest"], alike[kind])


def shape(line: str) -> str:
    """The last names of the paths in a call, without what differs from run to run: which call it is.

    Its result, the directory of the run, and what is read or written are left out: they say nothing of that.
    """
    arguments = line.rpartition(") = ")[0] or line
    paths = _DESCRIPTOR.findall(arguments) + _NAME.findall(arguments)
    return " ".join(re.sub(r"[0-9a-f]{6,}|[0-9]+", "#", path.rpartition("/")[2]) for path in paths)
