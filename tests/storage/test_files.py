"""Durable writing: private from the first byte, whole or not there, and every system error said in the user's words."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qdrant_backup.errors import InsufficientSpace, IntegrityFailed, NotWritable
from qdrant_backup.storage.files import (
    DurableFile,
    free_bytes,
    fsync_directory,
    make_private_directory,
    write_atomically,
)
from qdrant_backup.storage.reading import file_sha256, open_below, read_blocks, read_small

if TYPE_CHECKING:
    from collections.abc import Iterator

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes, links and limits are POSIX's")


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def failing(error_number: int) -> Any:
    def fail(*_arguments: object, **_options: object) -> Any:
        raise OSError(error_number, os.strerror(error_number))

    return fail


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix_only
def test_files_and_directories_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    make_private_directory(tmp_path / "d")
    with DurableFile(tmp_path / "d" / "file") as file:
        assert mode_of(tmp_path / "d" / "file") == 0o600, f"before the first byte, umask {umask:o}"
        file.write(b"x")
    write_atomically(tmp_path / "d" / "whole", b"x")
    assert [mode_of(tmp_path / "d" / name) for name in ("", "file", "whole")] == [0o700, 0o600, 0o600]


def test_size_and_checksum_are_those_of_the_bytes_on_disk(tmp_path: Path) -> None:
    with DurableFile(tmp_path / "f") as file:
        assert file.write(b"abc") == 3
        file.write(memoryview(bytearray(b"defg")))
    assert (file.size_bytes, file.sha256) == file_sha256(tmp_path / "f")
    assert file.sha256 == hashlib.sha256(b"abcdefg").hexdigest()


def test_a_file_begun_again_holds_only_what_came_after(tmp_path: Path) -> None:
    with DurableFile(tmp_path / "f") as file:
        file.write(b"the wrong bytes")
        file.restart()
        file.write(b"right")
    assert (tmp_path / "f").read_bytes() == b"right"
    assert (file.size_bytes, file.sha256) == file_sha256(tmp_path / "f")


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(NotWritable, match="exists"):
        DurableFile(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"old"


@posix_only
def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"old")
    (tmp_path / "f").symlink_to(tmp_path / "victim")
    with pytest.raises(NotWritable):
        DurableFile(tmp_path / "f")
    assert (tmp_path / "victim").read_bytes() == b"old"


@pytest.mark.fault("D05")
def test_short_writes_and_eagain_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    calls = 0

    def slow(descriptor: int, data: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise BlockingIOError(errno.EAGAIN, "try again")
        return real(descriptor, data[:7])

    with DurableFile(tmp_path / "f") as file:
        monkeypatch.setattr(os, "write", slow)
        file.write(bytes(range(200)))
        monkeypatch.undo()
    assert (tmp_path / "f").read_bytes() == bytes(range(200))
    assert file.sha256 == hashlib.sha256(bytes(range(200))).hexdigest()


def test_a_filesystem_that_never_takes_a_byte_ends_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DurableFile(tmp_path / "f") as file:
        monkeypatch.setattr(os, "write", lambda *_: 0)
        with pytest.raises(NotWritable, match="no more bytes"):
            file.write(b"x")
        monkeypatch.undo()


@pytest.mark.fault("D06")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_names_the_filesystem_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with DurableFile(tmp_path / "f") as file:
        monkeypatch.setattr(os, "write", failing(number))
        with pytest.raises(InsufficientSpace, match=r"The filesystem /.* has no room for .*/f"):
            file.write(b"x")
        monkeypatch.undo()


@pytest.mark.fault("D07")
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_cannot_be_written_is_named_with_the_systems_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with DurableFile(tmp_path / "f") as file:
        monkeypatch.setattr(os, "write", failing(number))
        with pytest.raises(NotWritable, match=os.strerror(number)):
            file.write(b"x")
        monkeypatch.undo()


@pytest.mark.fault("D06")
@posix_only
def test_a_limit_on_file_sizes_is_reported_as_no_space(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from qdrant_backup.errors import InsufficientSpace\n"
        "from qdrant_backup.storage.files import DurableFile\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    with DurableFile(Path(sys.argv[1])) as file: file.write(bytes(10000))\n"
        "except InsufficientSpace as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "f")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "single files" in done.stdout


@pytest.mark.fault("D03")
def test_a_failed_fsync_is_reported_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    file = DurableFile(tmp_path / "f")
    file.write(b"x")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(NotWritable):
        file.close()
    file.close()
    assert len(calls) == 1
    assert file.closed


def test_an_exception_inside_closes_without_an_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    file = DurableFile(tmp_path / "f")
    with pytest.raises(KeyError), file:
        raise KeyError
    assert file.closed


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_an_atomic_write_that_fails_leaves_the_old_content_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / ".state.json"
    write_atomically(target, b"old")
    monkeypatch.setattr(Path if step == "replace" else os, step, failing(errno.ENOSPC))
    with pytest.raises(InsufficientSpace):
        write_atomically(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_in_place_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(NotWritable, match="/f cannot be written: Not a directory"):
        make_private_directory(tmp_path / "f")
    with pytest.raises(NotWritable, match="Not a directory"):
        make_private_directory(tmp_path / "f" / "below", parents=True)


@pytest.mark.fault("D10")
def test_a_missing_parent_is_not_made_below_the_backup_directory(tmp_path: Path) -> None:
    with pytest.raises(NotWritable):
        make_private_directory(tmp_path / "gone" / "d")
    assert not (tmp_path / "gone").exists()


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(0o750)
    (tmp_path / "d").chmod(0o750)
    assert not make_private_directory(tmp_path / "d")
    assert mode_of(tmp_path / "d") == 0o750


@posix_only
def test_the_fsync_of_a_directory_that_is_gone_fails(tmp_path: Path) -> None:
    with pytest.raises(NotWritable):
        fsync_directory(tmp_path / "gone")


def test_free_space_is_that_of_where_a_path_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0


@posix_only
@pytest.mark.parametrize("kind", ["missing", "link", "directory", "pipe"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "f"
    (tmp_path / "secret").write_bytes(b"secret")
    make = {
        "missing": lambda: None,
        "link": lambda: path.symlink_to(tmp_path / "secret"),
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(IntegrityFailed):
        file_sha256(path)
    with pytest.raises(IntegrityFailed):
        open_below(tmp_path, "f")


@posix_only
def test_no_link_is_followed_on_the_way_down(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "d").symlink_to(tmp_path / "real")
    with pytest.raises(IntegrityFailed, match="symbolic link"):
        open_below(tmp_path / "root", "d/f")


@posix_only
def test_reading_below_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_bytes(b"x")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b")
    os.close(open_below(tmp_path, "a/b/f"))
    lowest = os.dup(0)
    os.close(lowest)
    for name in ("a/b/f", "a/b/none", "a/none/f", "a/b/f/g", "a/link/f", "a/b"):
        try:
            os.close(open_below(tmp_path, name))
        except IntegrityFailed:
            continue
        except NotWritable:
            continue
    again = os.dup(0)
    os.close(again)
    assert again == lowest


@pytest.mark.fault("D04")
def test_a_disk_that_fails_while_it_is_read_is_an_integrity_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    monkeypatch.setattr(os, "open", failing(errno.EIO))
    with pytest.raises(IntegrityFailed, match="the disk fails"):
        list(read_blocks(tmp_path / "f"))


def test_a_small_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(100))
    assert read_small(tmp_path / "f", 100) == bytes(100)
    with pytest.raises(IntegrityFailed, match="more than 99 bytes"):
        read_small(tmp_path / "f", 99)
