"""Backups and archives that somebody crafted, and a stage on which commands meet them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from faults.harness.scene import Scene, restore_world
from qdrant_backup.archive import tar
from support.command import Ran
from support.damaged import resigned
from support.restoring import points_of

__all__ = ["HOSTILE_ARCHIVES", "Stage", "stage"]

Change = Callable[[dict[str, Any]], Any]


class Stage:
    """A server with content, a good backup, and copies of it with something hostile in them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.line = scene.line
        [self.good] = scene.line.published()
        self.before = scene.before()

    @contextlib.contextmanager
    def hostile(
        self,
        change: Change = lambda _: None,
        files: Mapping[str, bytes] | None = None,
        plant: Callable[[Path], object] = lambda _: None,
    ) -> Iterator[str]:
        """The good backup's name, while a hostile one has it: changed and signed anew, then with files planted in it."""
        aside = self.line.directory / "good"
        shutil.move(self.good, aside)
        try:
            shutil.copytree(aside, self.good)
            resigned(self.good, change, files)
            plant(self.good)
            yield self.good.name
        finally:
            shutil.rmtree(self.good)
            shutil.move(aside, self.good)

    def refused(self, words: list[str], *exits: int) -> Ran:
        """Run a command that must end so, with a message and no traceback."""
        ran = self.line.inside(*words)
        assert ran.code in exits, (words, ran)
        assert "Traceback" not in ran.err, ran
        return ran

    def require_untouched(self) -> None:
        """The server, the good backup and the temporary directory are as they were; nothing was uploaded or left."""
        now = self.scene.before()
        assert now.state == self.before.state
        assert now.snapshots == self.before.snapshots
        assert now.files == self.before.files
        assert list(self.scene.temporary.iterdir()) == []
        assert not list(self.line.backups.glob(".safety-*"))


@pytest.fixture
def stage(shared_servers: Any, tmp_path: Path) -> Iterator[Stage]:
    """For a test module that imports this name; on the embedded server."""
    server = shared_servers.get("embedded")
    scene = Scene(server, tmp_path / "scene")
    try:
        restore_world(scene)
        scene.lab.make("elsewhere", points_of(3))
        yield Stage(scene)
    finally:
        scene.close()
        if server.alive:
            server.empty()


# Archives -------------------------------------------------------------------------------------------------------------


def _with(archive: bytes, *members: bytes) -> bytes:
    """The archive with more members before its end blocks."""
    return archive.removesuffix(tar.END_BLOCKS) + b"".join(members) + tar.END_BLOCKS


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"", **pax: str) -> bytes:
    """As Python's `tarfile` writes it, in whatever format it takes."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    info.pax_headers = dict(pax)
    header = info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT)
    return header + data + tar.padding(len(data))


def _pax_sparse(name: str, size_bytes: int) -> bytes:
    """A sparse file in the form of GNU's pax version 1.0: its map stands in its data."""
    data = b"1\n0\n0\n".ljust(tar.BLOCK_BYTES, b"\0")
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
    fields["GNU.sparse.realsize"] = str(size_bytes)
    return _member("GNUSparseFile.0/x", tarfile.REGTYPE, "", data, **fields)


def _global_pax(**fields: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers=fields):
        pass
    return stream.getvalue()[: 2 * tar.BLOCK_BYTES]


def _renamed(archive: bytes, name: str) -> bytes:
    """The archive with its first member under another name."""
    header = tar.parse_header(archive[: tar.BLOCK_BYTES])
    assert header.type_flag != tar.LONG_NAME
    return tar.rename(archive[: tar.BLOCK_BYTES], name) + archive[tar.BLOCK_BYTES :]


def _sparse_bomb(size_bytes: int) -> bytes:
    return tar.sparse_header("0/wal/closed-999", size_bytes, [(0, 512)]) + bytes(512)


def _long_name(length: int) -> bytes:
    record = tarfile.TarInfo("././@LongLink")
    record.type, record.size = tarfile.GNUTYPE_LONGNAME, length
    return record.tobuf(tarfile.GNU_FORMAT) + b"a" * 4096


_SEGMENT = "0/segments/0f7e9a01-98c5-4c8b-ae30-03873d2f6c2d"

HOSTILE_ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    "symlink": lambda a: _with(a, _member("0/evil", tarfile.SYMTYPE, "/etc/passwd")),
    "symlink then file through it": lambda a: _with(
        a, _member("0/wal/out", tarfile.SYMTYPE, ".."), _member("0/wal/out/evil", data=b"evil")
    ),
    "hard link": lambda a: _with(a, _member("0/evil", tarfile.LNKTYPE, "config.json")),
    "fifo": lambda a: _with(a, _member("0/evil", tarfile.FIFOTYPE)),
    "character device": lambda a: _with(a, _member("0/evil", tarfile.CHRTYPE)),
    "block device": lambda a: _with(a, _member("0/evil", tarfile.BLKTYPE)),
    "contiguous file": lambda a: _with(a, _member("0/evil", tarfile.CONTTYPE, data=b"x")),
    "multi-volume": lambda a: _with(a, _member("0/evil", b"M", data=b"x")),
    "climbing name": lambda a: _with(a, _member("0/wal/../../../../evil", data=b"evil")),
    "climbing directory": lambda a: _with(a, _member("../evil/", tarfile.DIRTYPE)),
    "absolute name": lambda a: _with(a, _member("/evil", data=b"evil")),
    "windows drive": lambda a: _with(a, _member("C:/evil", data=b"evil")),
    "backslashes": lambda a: _with(a, _member("..\\evil", data=b"evil")),
    "first member renamed out": lambda a: _renamed(a, "../evil"),
    "doubled member": lambda a: _with(a, tar.file_member("version.info", b"0.4.2")),
    "file where a directory is": lambda a: _with(a, tar.file_member("0/segments", b"x")),
    "pax path": lambda a: _with(a, _member("0/harmless", data=b"evil", path="../../evil")),
    "pax size": lambda a: _with(a, _member("0/harmless", data=b"evil", size="99999999999")),
    "pax link": lambda a: _with(a, _member("0/harmless", tarfile.SYMTYPE, "x", linkpath="/etc/passwd")),
    "global pax header": lambda a: _global_pax(path="../../evil") + a,
    "pax sparse terabyte": lambda a: _with(a, _pax_sparse("0/wal/closed-999", 1 << 40)),
    "sparse terabyte": lambda a: _with(a, _sparse_bomb(1 << 40)),
    "sparse exabytes": lambda a: _with(a, _sparse_bomb((1 << 63) - 1)),
    "hundred sparse members": lambda a: _with(
        a, *(tar.sparse_header(f"0/wal/closed-{n}", 60 << 30, [(0, 512)]) + bytes(512) for n in range(900, 1000))
    ),
    "endless name": lambda a: _with(a, _long_name(1 << 40)),
    "document of a terabyte": lambda a: tar.file_header("1/segments/x/files/segment.json", 1 << 40) + a,
    "member longer than the archive": lambda a: tar.file_header("0/wal/closed-999", 1 << 50) + a,
    "nested archive with a link": lambda a: _with(
        a, tar.file_member(f"{_SEGMENT}.tar", _member("snapshot/files/x", tarfile.SYMTYPE, "/etc/passwd"))
    ),
    "nested archive that climbs": lambda a: _with(
        a, tar.file_member(f"{_SEGMENT}.tar", tar.file_member("snapshot/files/../../../../evil", b"x"))
    ),
    "nested sparse terabyte": lambda a: _with(
        a,
        tar.file_member(f"{_SEGMENT}.tar", tar.sparse_header("snapshot/files/x", 1 << 40, [(0, 512)]) + bytes(512)),
    ),
    "config of a deep nest": lambda a: tar.file_member("config.json", b"[" * 200_000) + a,
    "config with a billion shards": lambda a: (
        tar.file_member("config.json", json.dumps({"params": {"shard_number": 10**9}}).encode()) + a
    ),
    "something behind the end": lambda a: a + _member("0/evil", tarfile.SYMTYPE, "/etc/passwd"),
    "gzip": lambda a: b"\x1f\x8b\x08\x00" + a,
}
"""Each makes a hostile archive of a good one; what is written, is a file called `evil` somewhere."""
