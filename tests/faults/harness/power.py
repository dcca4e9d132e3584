"""A power cut, replayed: what may stand on a disk when nothing is left but what was synchronised, and some of the rest.

A run is traced once, with all that it wrote. The model keeps two states of each file and directory, the one that the
processes see and the one that an fsync made durable. After each call a cut may leave any mixture of the two; the worst
are built in full, others by chance. It is stricter than any filesystem in use: the name of a new file is durable only
once its directory was synchronised, and a file without an fsync may be there with no bytes, some, or zeros.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

__all__ = ["CALLS", "Call", "Directory", "File", "calls_of", "cut", "load", "replay", "tracing"]

CALLS = "openat,write,fsync,fdatasync,rename,mkdir,rmdir,unlink,unlinkat,ftruncate,sendto"
_LINE = re.compile(r"^(?P<task>\d+)\s+(?P<rest>.*)$", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(?P<rest>.*)$", re.DOTALL)
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HANDLE = re.compile(r"(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2}|[^>\\])*)>(\(deleted\))?")


@dataclasses.dataclass
class File:
    """A file's bytes as processes see them, and as the disk has them for sure; None before the first fsync."""

    seen: bytes = b""
    durable: bytes | None = None


@dataclasses.dataclass
class Directory:
    """A directory's names, in the same two states."""

    seen: dict[str, File | Directory] = dataclasses.field(default_factory=dict)
    durable: dict[str, File | Directory] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Call:
    """A system call that succeeded: its name, its strings, the path of its handle, and its other words."""

    name: str
    strings: tuple[bytes, ...]
    handle: str
    rest: str


def tracing(program: Sequence[str], log: Path) -> list[str]:
    """The program under a strace that writes down everything."""
    return [
        "strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-qq", "-e", "signal=none",
        "-o", str(log), "-e", f"trace={CALLS}", *program,
    ]  # fmt: skip


def calls_of(log: Path) -> Iterator[Call]:
    """The calls of a log that succeeded, in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in log.read_text("utf-8", "replace").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        task, rest = found["task"], found["rest"]
        if rest.endswith(_UNFINISHED):
            begun[task] = rest.removesuffix(_UNFINISHED)
            continue
        if resumed := _RESUMED.match(rest):
            rest = begun.pop(task, "") + resumed["rest"]
        call = _CALL.match(rest)
        if call is not None and int(call["result"]) >= 0:
            yield _call(call["name"], call["arguments"])


def _call(name: str, arguments: str) -> Call:
    handle = _HANDLE.match(arguments)
    path = "" if handle is None or handle[2] else _text(handle[1])
    strings = tuple(_bytes(found) for found in _STRING.findall(arguments))
    return Call(name, strings, path, _STRING.sub("", arguments))


def _bytes(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal.replace("\\x", ""))


def _text(shown: str) -> str:
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda found: _bytes(found[0]).decode("utf-8", "replace"), shown)


def load(root: Path) -> Directory:
    """What lies on a disk, all of it durable."""
    made = Directory()
    for path in root.iterdir():
        if path.is_dir():
            made.seen[path.name] = load(path)
        else:
            data = path.read_bytes()
            made.seen[path.name] = File(data, data)
    made.durable = dict(made.seen)
    return made


class _Disk:
    def __init__(self, root: Path, tree: Directory) -> None:
        self._root, self._tree = root, tree

    def _parts(self, path: str) -> list[str] | None:
        try:
            return list(Path(path).relative_to(self._root).parts)
        except ValueError:
            return None

    def find(self, path: str) -> File | Directory | None:
        here: File | Directory | None = self._tree
        parts = self._parts(path)
        if parts is None:
            return None
        for part in parts:
            here = here.seen.get(part) if isinstance(here, Directory) else None
        return here

    def parent(self, path: str) -> tuple[Directory, str] | None:
        parts = self._parts(path)
        if not parts:
            return None
        holder = self.find(str(self._root.joinpath(*parts[:-1])))
        return (holder, parts[-1]) if isinstance(holder, Directory) else None

    def do(self, call: Call) -> None:
        """Take a call over into the state that processes see; an fsync, into the durable one."""
        if call.name in {"fsync", "fdatasync"}:
            node = self.find(call.handle)
            if isinstance(node, File):
                node.durable = node.seen
            elif node is not None:
                node.durable = dict(node.seen)
        elif call.name in {"write", "ftruncate"}:
            node = self.find(call.handle)
            if isinstance(node, File):
                node.seen = node.seen + call.strings[0] if call.name == "write" else _truncated(node.seen, call.rest)
        elif call.strings:
            self._names(call)

    def _names(self, call: Call) -> None:
        first = call.strings[0].decode("utf-8", "replace")
        path = first if first.startswith("/") else f"{call.handle}/{first}"
        place = self.parent(path)
        if call.name == "rename":
            target = self.parent(call.strings[1].decode("utf-8", "replace"))
            if place and target:
                target[0].seen[target[1]] = place[0].seen.pop(place[1])
        elif place is None:
            return
        elif call.name == "mkdir":
            place[0].seen[place[1]] = Directory()
        elif call.name in {"unlink", "unlinkat", "rmdir"}:
            place[0].seen.pop(place[1], None)
        elif call.name == "openat" and "O_CREAT" in call.rest:
            place[0].seen.setdefault(place[1], File())


def _truncated(seen: bytes, rest: str) -> bytes:
    size = int(rest.rpartition(",")[2])
    return seen[:size].ljust(size, b"\0")


def replay(tree: Directory, root: Path, calls: Sequence[Call]) -> Iterator[Call]:
    """Each call in turn, once `tree` holds what it did."""
    disk = _Disk(root, tree)
    for call in calls:
        disk.do(call)
        yield call


def _nothing_else(_: object) -> int:
    return 0


def cut(tree: Directory, target: Path, dice: random.Random | None = None, *, names: bool = False) -> None:
    """Write what a power cut leaves to `target`.

    Args:
        tree: the disk.
        target: an empty directory.
        dice: each file and directory may have either state, or a file something between; None: what is durable alone.
        names: all names are there, and of the bytes only those that are durable.
    """
    choose: Callable[[object], int] = _nothing_else if dice is None else lambda _: dice.randrange(4)
    _write(tree, target, choose, dice or random.Random(0), names=names)


def _write(node: Directory, target: Path, choose: Callable[[object], int], dice: random.Random, *, names: bool) -> None:
    target.mkdir(exist_ok=True)
    for name, child in (node.seen if names or choose(node) % 2 else node.durable).items():
        if isinstance(child, Directory):
            _write(child, target / name, choose, dice, names=names)
        else:
            (target / name).write_bytes(_content(child, choose(child), dice))


def _content(file: File, choice: int, dice: random.Random) -> bytes:
    if choice == 0 or file.durable == file.seen:
        return file.durable or b""
    part = file.seen[: dice.randrange(len(file.seen) + 1)]
    return {1: file.seen, 2: part, 3: part.ljust(len(file.seen), b"\0")}[choice]
