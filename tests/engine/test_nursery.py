"""On Linux children are forked from a process that is ready for them. It changes what they cost, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qdrant_backup.engine import forked, parent
from qdrant_backup.engine.engine import Engine
from support.shards import DENSE, DENSE_PARAMS, collection_archive, dense_points, make_shard

LONG_S = 120.0

pytestmark = pytest.mark.skipif(not forked.CAN_FORK, reason="children are started, not forked")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    shard = make_shard(tmp_path_factory.mktemp("nursery") / "shard", DENSE, dense_points(50))
    return collection_archive([shard], DENSE_PARAMS)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(scratch=tmp_path / "scratch", silence_s=LONG_S)


@pytest.fixture(autouse=True)
def nursery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Gives the process id of this test's own nursery, which ends with the test."""
    own: dict[int, forked._Nursery] = {}
    monkeypatch.setattr(forked, "_nurseries", own)
    yield lambda: own[os.getpid()]._process.pid
    for made in own.values():
        made._end(os.getpid())


def digest(engine: Engine, data: bytes, target: Path) -> bytes:
    with engine.open_digest(target) as sink:
        sink.write(data)
        sink.finish()
    return target.read_bytes()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def pipes_of(pid: int) -> set[str]:
    """The pipes and sockets that a process holds."""
    found = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return {name for name in found if name.startswith(("pipe:", "socket:"))}


def test_each_job_has_a_process_of_its_own_from_the_same_nursery(
    engine: Engine, whole: bytes, tmp_path: Path, nursery: Callable[[], int]
) -> None:
    with engine.open_digest(tmp_path / "one") as one, engine.open_digest(tmp_path / "two") as two:
        assert len({one.pid, two.pid, nursery(), os.getpid()}) == 4
        assert {parent_of(one.pid), parent_of(two.pid)} == {nursery()}
        for sink in (one, two):
            sink.write(whole)
            sink.finish()
    assert is_gone(one.pid)
    assert is_gone(two.pid)
    assert not is_gone(nursery())


def test_every_thread_that_waits_for_a_child_learns_its_end(nursery: Callable[[], int]) -> None:
    child = forked.fork(parent._import_paths())
    codes: list[int] = []
    waiting = [threading.Thread(target=lambda: codes.append(child.wait()), daemon=True) for _ in range(3)]
    for thread in waiting:
        thread.start()
    assert child.poll() is None
    child.kill()
    for thread in waiting:
        thread.join(LONG_S)
    assert codes == [-signal.SIGKILL] * 3
    for stream in (child.stdin, child.stdout, child.stderr):
        stream.close()
    assert not is_gone(nursery())


def test_no_child_holds_anothers_pipes(engine: Engine, tmp_path: Path, nursery: Callable[[], int]) -> None:
    with engine.open_digest(tmp_path / "one") as one, engine.open_digest(tmp_path / "two") as two:
        # What a child was forked with it closes before it reads its job.
        wait_for(lambda: (one.scratch / "unpacked").exists() and (two.scratch / "unpacked").exists())
        assert len(pipes_of(one.pid)) == 3
        assert pipes_of(one.pid).isdisjoint(pipes_of(two.pid))
        assert pipes_of(one.pid).isdisjoint(pipes_of(nursery()))


def test_the_ended_are_buried_and_nothing_is_kept_of_them(
    engine: Engine, whole: bytes, tmp_path: Path, nursery: Callable[[], int]
) -> None:
    digest(engine, whole, tmp_path / "first")
    held = len(list(Path(f"/proc/{nursery()}/fd").iterdir()))
    ours = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        with engine.open_digest(tmp_path / f"{number}") as sink:
            sink.write(whole)
            if number % 2:
                os.kill(sink.pid, signal.SIGKILL)
            else:
                sink.finish()
        wait_for(lambda pid=sink.pid: not Path(f"/proc/{pid}").exists())
    wait_for(lambda: len(list(Path(f"/proc/{nursery()}/fd").iterdir())) == held)
    assert len(list(Path("/proc/self/fd").iterdir())) == ours


def test_a_nursery_that_was_killed_is_replaced_and_its_children_finish(
    engine: Engine, whole: bytes, tmp_path: Path, nursery: Callable[[], int]
) -> None:
    with engine.open_digest(tmp_path / "orphan") as sink:
        sink.write(whole[:10_000])
        first = nursery()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: is_gone(first))
        sink.write(whole[10_000:])
        sink.finish()
    wait_for(lambda: is_gone(sink.pid))
    for name in ("next", "one more"):
        assert digest(engine, whole, tmp_path / name) == (tmp_path / "orphan").read_bytes()
    assert nursery() != first


def test_a_child_whose_nursery_was_killed_is_ended_with_its_job(
    engine: Engine, whole: bytes, tmp_path: Path, nursery: Callable[[], int]
) -> None:
    with engine.open_digest(tmp_path / "orphan") as sink:
        sink.write(whole[:10_000])
        os.kill(nursery(), signal.SIGKILL)
    wait_for(lambda: is_gone(sink.pid))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_where_there_is_none_children_are_started_and_say_the_same(
    engine: Engine, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = digest(engine, whole, tmp_path / "forked")
    monkeypatch.setattr(parent, "CAN_FORK", False)
    with engine.open_digest(tmp_path / "started") as sink:
        assert parent_of(sink.pid) == os.getpid()
        sink.write(whole)
        sink.finish()
    assert (tmp_path / "started").read_bytes() == expected


def test_a_nursery_that_cannot_be_started_is_done_without(
    engine: Engine, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked, "_START", "raise SystemExit(3)")
    with engine.open_digest(tmp_path / "started") as sink:
        assert parent_of(sink.pid) == os.getpid()
        sink.write(whole)
        sink.finish()


@pytest.mark.parametrize("end", ["by itself", "killed"])
def test_it_ends_with_its_process(whole: bytes, tmp_path: Path, end: str) -> None:
    (tmp_path / "archive").write_bytes(whole)
    code = """
        import os, sys
        from pathlib import Path
        from qdrant_backup.engine import forked
        from qdrant_backup.engine.engine import Engine
        root = Path(sys.argv[1])
        Engine(scratch=root / "scratch").digest_file(root / "archive", root / "digest")
        print(forked._nurseries[os.getpid()]._process.pid, flush=True)
        sys.stdin.read()
    """
    source = Path(__file__).parents[2] / "src"
    start = f"import sys; sys.path.insert(0, {str(source)!r})\n{textwrap.dedent(code)}"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", start, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert not is_gone(pid)
    if end == "killed":
        process.kill()
    _, complaints = process.communicate(timeout=LONG_S)
    assert complaints == b""
    wait_for(lambda: is_gone(pid))
