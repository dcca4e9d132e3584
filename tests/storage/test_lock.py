"""The lock: one run at a time, free when its holder dies, and a lost one is noticed before anything is destroyed."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from qdrant_backup.errors import Locked, NotWritable
from qdrant_backup.storage.lock import DirectoryLock

if TYPE_CHECKING:
    from pathlib import Path

    from qdrant_backup.clock import Clock

HOLD = """
import sys; from pathlib import Path
from qdrant_backup.clock import SystemClock
from qdrant_backup.storage.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1]), SystemClock(), "backup --all"):
    print("held", flush=True)
    sys.stdin.read()
"""
COUNT = """
import sys; from pathlib import Path
from qdrant_backup.clock import SystemClock
from qdrant_backup.errors import Locked
from qdrant_backup.storage.lock import DirectoryLock
root, done = Path(sys.argv[1]), 0
while done < 20:
    try:
        with DirectoryLock(root, SystemClock(), "count"):
            number = int((root / "number").read_text())
            (root / "number").write_text(str(number + 1))
            done += 1
    except Locked:
        SystemClock().sleep(0.001)
"""


def hold(root: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


@pytest.mark.fault("P06")
def test_a_second_run_is_refused_with_the_first_ones_name(tmp_path: Path, clock: Clock) -> None:
    with hold(tmp_path) as child:
        with pytest.raises(Locked) as caught:
            DirectoryLock(tmp_path, clock, "restore").acquire()
        child.communicate("")
    assert "`backup --all`" in caught.value.why
    assert f"process {child.pid}" in caught.value.why


@pytest.mark.fault("P08")
def test_the_lock_of_a_killed_run_is_taken_over_and_said_so(tmp_path: Path, clock: Clock) -> None:
    with hold(tmp_path) as child:
        child.kill()
    with DirectoryLock(tmp_path, clock, "restore") as lock:
        assert lock.taken_over is not None
        assert lock.taken_over.pid == child.pid


def test_an_orderly_end_leaves_nobody_to_take_over_from(tmp_path: Path, clock: Clock) -> None:
    with DirectoryLock(tmp_path, clock, "one"):
        pass
    with DirectoryLock(tmp_path, clock, "two") as lock:
        assert lock.taken_over is None


@pytest.mark.fault("P08")
@pytest.mark.parametrize(
    "content",
    [b"", b"garbage\xff", b'{"pid": 1, "host": "elsewhere", "command": "x", "started_at": "2030-01-01T00:00:00Z"}'],
)
def test_what_stands_in_the_file_decides_nothing(tmp_path: Path, clock: Clock, content: bytes) -> None:
    (tmp_path / ".lock").write_bytes(content)
    with DirectoryLock(tmp_path, clock, "backup") as lock:
        assert lock.still_held()


@pytest.mark.fault("P06")
def test_four_processes_never_hold_it_together(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")

    def run(_: int) -> int:
        return subprocess.run([sys.executable, "-c", COUNT, str(tmp_path)], check=False, timeout=300).returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [0, 0, 0, 0]
    assert (tmp_path / "number").read_text() == "80"


def test_the_directory_is_made_private(tmp_path: Path, clock: Clock) -> None:
    with DirectoryLock(tmp_path / "new" / "backups", clock, "backup"):
        assert (tmp_path / "new" / "backups").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "new" / "backups" / ".lock").stat().st_mode & 0o777 == 0o600


def lose_file(root: Path) -> None:
    (root / ".lock").unlink()


def replace_file(root: Path) -> None:
    (root / ".lock").rename(root / "old")
    (root / ".lock").write_bytes(b"")


def replace_directory(root: Path) -> None:
    root.rename(root.with_name("moved"))
    root.mkdir()


@pytest.mark.fault("P08")
@pytest.mark.parametrize("lose", [lose_file, replace_file, replace_directory])
def test_a_lost_lock_stops_the_next_destructive_step(tmp_path: Path, clock: Clock, lose: Any) -> None:
    root = tmp_path / "backups"
    with DirectoryLock(root, clock, "prune") as lock:
        lock.require("delete one")
        lose(root)
        assert not lock.still_held()
        with pytest.raises(Locked, match="delete two"):
            lock.require("delete two")


def test_a_lock_given_back_is_not_held(tmp_path: Path, clock: Clock) -> None:
    lock = DirectoryLock(tmp_path, clock, "backup")
    lock.acquire()
    lock.release()
    lock.release()
    assert not lock.still_held()
    with DirectoryLock(tmp_path, clock, "again"):
        pass


@pytest.mark.fault("P08")
def test_a_lock_file_replaced_while_it_is_taken_is_taken_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    seen: list[int] = []

    def replaced_once(descriptor: int, operation: int) -> None:
        if not seen:
            replace_file(tmp_path)
        seen.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replaced_once)
    with DirectoryLock(tmp_path, clock, "backup") as lock:
        assert lock.still_held()
    assert len(seen) >= 2


def test_a_filesystem_without_locks_is_named_as_that(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NotWritable, match="no file locks"):
        DirectoryLock(tmp_path, clock, "backup").acquire()


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "victim").write_bytes(b"old")
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(NotWritable):
        DirectoryLock(tmp_path, clock, "backup").acquire()
    assert (tmp_path / "victim").read_bytes() == b"old"


def test_a_backup_directory_that_is_a_file_is_refused(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(NotWritable, match="Not a directory"):
        DirectoryLock(tmp_path / "f", clock, "backup").acquire()
