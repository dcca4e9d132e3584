"""Whatever becomes of the child process, the parent gets an error in bounded time, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from qdrant_backup.engine.engine import DigestSink, Engine
from qdrant_backup.errors import (
    ContentUnreadable,
    InsufficientSpace,
    IntegrityFailed,
    InternalError,
    NotWritable,
    QdrantBackupError,
)
from support.archives import archive
from support.shards import DENSE, DENSE_PARAMS, collection_archive, dense_points, make_shard, shard_items

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
LONG_S = 120.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    shard = make_shard(tmp_path_factory.mktemp("guarded") / "shard", DENSE, dense_points(50))
    return collection_archive([shard], DENSE_PARAMS)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def assert_nothing_left(tmp_path: Path) -> None:
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "digest").exists()


def failure(
    tmp_path: Path, data: bytes, kind: type[QdrantBackupError], *, halve_from_bytes: int = 1 << 60
) -> QdrantBackupError:
    engine = Engine(scratch=tmp_path / "scratch", halve_from_bytes=halve_from_bytes)
    with pytest.raises(kind) as caught, engine.open_digest(tmp_path / "digest") as sink:  # noqa: PT012 - `finish` raises, and what leads to it belongs inside
        sink.write(data)
        sink.finish()
    assert_nothing_left(tmp_path)
    return caught.value


@pytest.mark.parametrize("kept", [0, 1, 511, 512, 4096, 0.3, 0.9, -1024, -1])
def test_an_archive_that_was_cut_is_damaged(tmp_path: Path, whole: bytes, kept: float) -> None:
    end = int(len(whole) * kept) if isinstance(kept, float) else kept
    failure(tmp_path, whole[:end], IntegrityFailed)


def test_a_flipped_header_is_damaged(tmp_path: Path, whole: bytes) -> None:
    failure(tmp_path, whole[:10] + bytes([whole[10] ^ 1]) + whole[11:], IntegrityFailed)


@pytest.mark.parametrize("name", ["../outside", "0/../../outside", "/tmp/outside"])
def test_a_climbing_name_writes_nothing_outside(tmp_path: Path, whole: bytes, name: str) -> None:
    hostile = archive([(name, b"x" * 600)], end=b"") + whole
    failure(tmp_path, hostile, IntegrityFailed)
    assert not list(tmp_path.rglob("outside"))


def test_a_name_that_occurs_twice_is_damaged(tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(3))
    items = shard_items(shard)
    failure(tmp_path, archive([*items, items[0]]), IntegrityFailed)


def test_a_segment_without_its_version_is_damaged(tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(3))
    (version,) = shard.glob("segments/*/version.info")
    version.unlink()
    failure(tmp_path, collection_archive([shard], DENSE_PARAMS), IntegrityFailed)


@pytest.mark.parametrize("garbage", [b"", b"\x00" * 4096, b"\xff" * 4096])
def test_a_garbled_wal_is_damaged(tmp_path: Path, garbage: bytes) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(3))
    for path in shard.glob("wal/open-*"):
        path.write_bytes(b"none of this is a WAL" + garbage)
    failure(tmp_path, collection_archive([shard], DENSE_PARAMS), IntegrityFailed)


@pytest.mark.parametrize(
    ("garbage", "said"),
    [
        (b"\x07", "engine says"),
        # Read as a length, this asks for 4 GiB: the limit turns what would take a machine down into an abort.
        (b"\xff", "memory allocation of"),
    ],
)
@pytest.mark.parametrize("halve_from_bytes", [0, 1 << 60])
def test_unreadable_payloads_are_damaged_and_take_no_more_than_the_limit(
    tmp_path: Path, garbage: bytes, said: str, halve_from_bytes: int
) -> None:
    shard = make_shard(tmp_path / "shard", DENSE, dense_points(300))
    (page,) = shard.glob("segments/*/payload_storage/page_0.dat")
    with page.open("r+b") as stream:
        stream.write(garbage * 20_000)
    data = collection_archive([shard], DENSE_PARAMS, wal=False)
    error = failure(tmp_path, data, IntegrityFailed, halve_from_bytes=halve_from_bytes)
    assert said in str(error)
    assert "Fatal Python error" not in str(error)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (signal.SIGKILL, ContentUnreadable),
        (signal.SIGSEGV, IntegrityFailed),
        (signal.SIGABRT, IntegrityFailed),
        (signal.SIGTERM, ContentUnreadable),
    ],
)
@pytest.mark.parametrize("when", ["before", "during", "at the end"])
def test_a_child_that_is_killed_is_an_error_and_not_a_wait(
    tmp_path: Path, whole: bytes, number: signal.Signals, kind: type[QdrantBackupError], when: str
) -> None:
    engine = Engine(scratch=tmp_path / "scratch", silence_s=LONG_S)
    with pytest.raises(kind) as caught, engine.open_digest(tmp_path / "digest") as sink:  # noqa: PT012 - `finish` raises, and what leads to it belongs inside
        if when != "before":
            sink.write(whole[: len(whole) // 2] if when == "during" else whole)
        os.kill(sink.pid, number)
        if when != "at the end":
            # Far more than the pipe and the queue hold; nobody reads it.
            for _ in range(40):
                sink.write(bytes(1 << 20))
        sink.finish()
    assert caught.value.why
    assert_nothing_left(tmp_path)


def test_a_digest_that_is_closed_while_it_is_waited_for_is_an_error_of_ours_to_catch(
    tmp_path: Path, whole: bytes
) -> None:
    engine = Engine(scratch=tmp_path / "scratch", silence_s=LONG_S)
    with engine.open_digest(tmp_path / "digest") as sink:
        sink.write(whole[: len(whole) // 2])
    with pytest.raises(QdrantBackupError):
        sink.finish()


def test_a_child_that_stops_reading_is_ended_at_the_deadline(tmp_path: Path, whole: bytes) -> None:
    engine = Engine(scratch=tmp_path / "scratch", silence_s=0.5)
    with pytest.raises(ContentUnreadable, match="nothing was heard"), engine.open_digest(tmp_path / "digest") as sink:  # noqa: PT012 - `finish` raises, and what leads to it belongs inside
        os.kill(sink.pid, signal.SIGSTOP)
        sink.write(whole)
        for _ in range(40):
            sink.write(bytes(1 << 20))
        sink.finish()
    assert is_gone(sink.pid)
    assert_nothing_left(tmp_path)


def test_leaving_without_finish_ends_the_child_and_removes_everything(tmp_path: Path, whole: bytes) -> None:
    with Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest") as sink:
        sink.write(whole)
        assert (tmp_path / "digest").exists()
    assert is_gone(sink.pid)
    assert_nothing_left(tmp_path)


def test_an_error_of_the_caller_passes_through(tmp_path: Path) -> None:
    class Own(Exception):
        pass

    def use(sink: DigestSink) -> None:
        sink.write(b"half a header")
        raise Own

    with pytest.raises(Own), Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest") as sink:
        use(sink)
    assert_nothing_left(tmp_path)


def test_a_target_that_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "digest").write_text("precious")
    with pytest.raises(NotWritable), Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest"):
        pass
    assert (tmp_path / "digest").read_text() == "precious"
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.fault("D06")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_no_room_for_the_scratch_or_the_digest_is_said_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(InsufficientSpace), Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest"):
        pytest.fail("there was room")


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotWritable):
        Engine(scratch=tmp_path / "scratch").digest_file(tmp_path / "nothing", tmp_path / "digest")
    assert_nothing_left(tmp_path)


@LINUX
def test_nothing_of_the_environment_reaches_the_child(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret-of-the-server")
    monkeypatch.setenv("SOME_TOKEN", "s3cret-of-somebody")
    with Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest") as sink:
        sink.write(whole[:1000])
        # Once it has made its directory it is the new program, no copy of this one.
        wait_for((sink.scratch / "unpacked").exists)
        seen = [Path(f"/proc/{sink.pid}/{name}").read_bytes() for name in ("environ", "cmdline")]
    assert not any(b"s3cret" in text for text in seen)
    assert b"QDRANT_" not in seen[0]


@LINUX
def test_the_child_ends_with_its_parent_and_cleans_up(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "archive").write_bytes(whole)
    code = """
        import sys
        from pathlib import Path
        from qdrant_backup.engine.engine import Engine
        root = Path(sys.argv[1])
        with Engine(scratch=root / "scratch").open_digest(root / "digest") as sink:
            sink.write((root / "archive").read_bytes()[:-2000])
            print(sink.pid, flush=True)
            sys.stdin.read()
    """
    source = Path(__file__).parents[2] / "src"
    start = f"import sys; sys.path.insert(0, {str(source)!r})\n{textwrap.dedent(code)}"
    parent = subprocess.Popen(
        [sys.executable, "-c", start, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_for(lambda: any((tmp_path / "scratch").glob("*/unpacked")))
    parent.kill()
    parent.wait(LONG_S)
    wait_for(lambda: is_gone(pid))
    assert_nothing_left(tmp_path)
    parent.stdout.close()
    assert parent.stdin is not None
    parent.stdin.close()


def test_what_a_killed_run_left_is_swept_and_what_a_live_one_holds_is_not(tmp_path: Path, whole: bytes) -> None:
    left = tmp_path / "scratch" / "qdrant-backup-open-dead"
    (left / "unpacked").mkdir(parents=True)
    other = tmp_path / "scratch" / "something-else"
    other.mkdir()
    engine = Engine(scratch=tmp_path / "scratch")
    with engine.open_digest(tmp_path / "digest") as first:
        assert not left.exists()
        with engine.open_digest(tmp_path / "second") as second:
            second.write(whole)
            second.finish()
        assert first.scratch.is_dir()
        first.write(whole)
        first.finish()
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["something-else"]
    assert (tmp_path / "digest").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    from qdrant_backup.engine.verdict import error_from, error_of_death, failed_from

    full = OSError(28, "No space left on device")
    assert isinstance(error_from(failed_from(full)), InsufficientSpace)
    assert isinstance(
        error_from(failed_from(Exception("io: No space left on device (os error 28)"))), InsufficientSpace
    )
    assert isinstance(error_of_death(-signal.SIGBUS, "", disk_full=True), InsufficientSpace)
    assert isinstance(error_of_death(-signal.SIGBUS, "", disk_full=False), IntegrityFailed)
    assert isinstance(error_of_death(1, "Traceback", disk_full=False), InternalError)
    assert isinstance(error_of_death(0xC0000005, "", disk_full=False), IntegrityFailed)
    assert isinstance(error_from(failed_from(KeyError("x"))), InternalError)
