"""Archives that the embedded server writes: any reader of GNU tar gets the files back, holes and all."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from qdrant_backup.engine.rest.tarring import BytesMember, FileMember, Member, NestedMember, chunks_of, size_of

LONG = "0/segments/" + "x" * 60 + "/" + "y" * 60 + "/file.dat"


def archive(*members: Member) -> bytes:
    data = b"".join(chunks_of(members))
    assert len(data) == size_of(members)
    return data


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}


def with_holes(path: Path, extents: list[tuple[int, bytes]], size: int) -> bytes:
    with path.open("wb") as file:
        for at, data in extents:
            file.seek(at)
            file.write(data)
        file.truncate(size)
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5000])
def test_a_file_comes_back(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    assert contents(archive(FileMember.of("a/file", path))) == {"a/file": path.read_bytes()}


@pytest.mark.parametrize("length", [99, 100, 101, 300])
def test_names_of_any_length_come_back(tmp_path: Path, length: int) -> None:
    name = ("n" * 49 + "/") * 10
    name = name[:length].rstrip("/").ljust(length, "z")
    assert contents(archive(BytesMember(name, b"1"), BytesMember("b", b"2"))) == {name: b"1", "b": b"2"}


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 25, 26, 60])
def test_a_file_with_holes_comes_back_and_is_stored_without_them(tmp_path: Path, count: int) -> None:
    path = tmp_path / "sparse"
    whole = with_holes(path, [(number << 17, b"data" * 1024) for number in range(count)], 1 << 23)
    data = archive(FileMember.of(LONG, path))
    assert contents(data) == {LONG: whole}
    if path.stat().st_blocks * 512 < len(whole) // 2:
        assert len(data) < len(whole) // 2


def test_a_file_that_ends_in_data_needs_no_last_extent(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    whole = with_holes(path, [(1 << 20, b"end")], (1 << 20) + 3)
    assert contents(archive(FileMember.of("s", path))) == {"s": whole}


def test_an_archive_within_an_archive_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    whole = with_holes(path, [(0, b"begin")], 1 << 21)
    inner = NestedMember("segments/u.tar", (FileMember.of("snapshot/files/f", path), BytesMember("snapshot/g", b"g")))
    outer = contents(archive(inner, BytesMember("last", b"!")))
    assert outer["last"] == b"!"
    assert contents(outer["segments/u.tar"]) == {"snapshot/files/f": whole, "snapshot/g": b"g"}


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    member = FileMember.of("file", path)
    path.write_bytes(b"1")
    with pytest.raises(OSError, match="shrank"):
        archive(member)
