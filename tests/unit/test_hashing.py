"""A SHA-256 that is computed beside the writing is the SHA-256 of what was written."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

from qdrant_backup.hashing import HashBeside
from qdrant_backup.storage.files import DurableFile

if TYPE_CHECKING:
    from pathlib import Path

LARGE = [bytes([number]) * (100_000 + number) for number in range(20)]
SMALL = [b"", b"a", b"b" * 100]


def hashing_threads() -> int:
    return sum(thread.name == "sha256" for thread in threading.enumerate())


@pytest.mark.parametrize("blocks", [[], SMALL, LARGE, [*SMALL, *LARGE, *SMALL, *LARGE]])
def test_large_and_small_blocks_are_hashed_in_their_order(blocks: list[bytes]) -> None:
    beside = HashBeside()
    for block in blocks:
        beside.update(block)
        assert len(beside.checksum()) == 64
    beside.close()
    assert beside.checksum() == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_a_buffer_may_be_changed_once_it_was_taken() -> None:
    beside, buffer = HashBeside(), bytearray(LARGE[0])
    beside.update(buffer)
    beside.update(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert beside.checksum() == hashlib.sha256(LARGE[0] * 2).hexdigest()


@pytest.mark.parametrize("end", ["close", "abandon", "restart"])
def test_a_files_thread_ends_with_it(tmp_path: Path, end: str) -> None:
    before = hashing_threads()
    file = DurableFile(tmp_path / "file")
    for block in LARGE:
        file.write(block)
    getattr(file, end)()
    deadline = threading.Event()
    for _ in range(1000):
        if hashing_threads() <= before:
            break
        deadline.wait(0.01)
    assert hashing_threads() <= before
    file.close()


def test_a_large_file_has_the_bytes_and_the_sum_of_all_its_blocks(tmp_path: Path) -> None:
    blocks = [bytes([number]) * (1 << 20) for number in range(20)]
    with DurableFile(tmp_path / "file") as file:
        for block in blocks:
            file.write(block)
    assert (tmp_path / "file").read_bytes() == b"".join(blocks)
    assert file.sha256 == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_where_no_thread_can_be_started_it_hashes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    beside = HashBeside()
    for _ in range(2):
        beside.update(b"x" * (1 << 20))
    assert beside.checksum() == hashlib.sha256(b"x" * (2 << 20)).hexdigest()
    beside.close()
