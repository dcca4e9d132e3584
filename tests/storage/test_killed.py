"""SIGKILL at every system call of a backup: what is listed afterwards is the old set or the new one, and no wreck stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# One interpreter forks a child for each n; the child dies right before its n-th call of a function that changes the disk.
KILLED = '''
import os, shutil, signal, sys
from pathlib import Path
from qdrant_backup.clock import SystemClock
from qdrant_backup.layout import backup_id_at
from qdrant_backup.storage.directory import BackupDirectory
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.verify import check_files
from support.stored import FIRST, SNAPSHOT, manifest_of, published

def arm(nth):
    calls = 0
    def wrap(owner, name):
        real = getattr(owner, name)
        def dying(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls > nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        setattr(owner, name, dying)
    for name in ("open", "write", "fsync", "close", "unlink", "rename", "replace", "mkdir", "rmdir", "ftruncate"):
        wrap(os, name)

def change(root):
    """Delete the old backup and write a new one."""
    directory = BackupDirectory(root)
    with DirectoryLock(root, SystemClock(), "test") as lock:
        directory.sweep(lock)
        with directory.begin(backup_id_at(FIRST)) as partial:
            partial.write("qdrant/docs.snapshot", SNAPSHOT)
            partial.publish(manifest_of(FIRST))
        directory.remove(directory.entries()[-1], lock)

def check(root, old):
    directory = BackupDirectory(root)
    listing = directory.survey()
    assert not listing.invalid, listing.invalid
    for backup in listing.backups:
        assert check_files(backup) == [], backup
    found = {backup.backup_id for backup in listing.backups}
    new = {old + "-2"}
    assert found in ({old}, {old} | new, new), found
    with DirectoryLock(root, SystemClock(), "test") as lock:
        assert not directory.sweep(lock).left
    left = {path.name for path in root.iterdir()} - {".lock"}
    assert left == found, left

base, nth = Path(sys.argv[1]), 0
while True:
    root = base / str(nth)
    old = published(root).backup_id
    pid = os.fork()
    if not pid:
        try:
            arm(nth)
            change(root)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, (nth, status)
    check(root, old)
    shutil.rmtree(root)
    if not os.WIFSIGNALED(status):
        break
    nth += 1
print(nth)
'''


@pytest.mark.fault("P03")
@pytest.mark.fault("P01")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_backup_killed_before_any_system_call_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent / "src")])}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
