"""D: what a disk does while something is written to it or read from it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import resource
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, Case, parameters
from faults.harness.injection import Strike
from faults.harness.plugin import missing
from faults.harness.scene import Scene
from faults.harness.strikes import Enumeration, strike_all
from faults.harness.worlds import NAME, changed, five_changed, one_backup, one_changed
from support.archives import SEGMENT, archive, root_items, shard_items
from support.restoring import points_of
from support.servers import RunningServer
from support.stored import published

pytestmark = pytest.mark.timeout(3600)

needs_strace = pytest.mark.skipif(bool(missing(("strace",))), reason="needs strace")

FSYNC = re.compile(r"(?:\d+ +)?fsync\((?P<what>\d+<[^>]*>).*?(?P<struck>\(INJECTED\))?$")
OF_A_BACKUP = re.compile(r"/backups/[0-9]{4}-")
WRITTEN = re.compile(r"\.partial/.*\.(?:snapshot|digest|txt|json)>|SHA256SUMS>|\.tmp>")
COMMITTING = re.compile(r'\.partial/(?:manifest\.json|SHA256SUMS)[">]|\.partial>|\.partial"|/backups>')


def in_partial(strike: Strike) -> bool:
    return ".partial" in strike.line


def changes(strike: Strike) -> bool:
    """Closing counts where something was written, opening where it makes a file."""
    if strike.call == "close":
        return bool(WRITTEN.search(strike.line))
    return strike.call != "openat" or "O_CREAT" in strike.line


def commits(strike: Strike) -> bool:
    """The manifest, its checksums, and the name: all that is left when every snapshot is there."""
    return changes(strike) and strike.call != "mkdir" and bool(COMMITTING.search(strike.line))


# What is only noted beside a backup (its level, the lock's owner) may fail without failing it.
def failed_or_noted(strike: Strike) -> Sequence[int]:
    return (2,) if in_partial(strike) else (0, 2)


def full_or_noted(strike: Strike) -> Sequence[int]:
    return (3,) if in_partial(strike) else (0, 3)


def no_second_fsync(strike: Strike, log: Path) -> None:
    """After one that failed the kernel may have dropped the pages: another that succeeds proves nothing."""
    seen = [found for line in log.read_text("utf-8", "replace").splitlines() if (found := FSYNC.match(line))]
    struck = [number for number, found in enumerate(seen) if found["struck"]]
    for number in struck:
        what = seen[number]["what"]
        if "." in what.rpartition("/")[2]:
            later = [found["what"].partition("<")[2] for found in seen[number + 1 :] if not found["struck"]]
            assert what.partition("<")[2] not in later, (strike, what)


BROKEN = Enumeration(
    Case("D03", "error", ("backup",), (2,), world=one_backup),
    "write,fsync,close,rename,mkdir,unlink,ftruncate,fchmod,chmod,openat",
    "error=EIO",
    picked=changes,
    exits=failed_or_noted,
    after=no_second_fsync,
)


# What begins to fail and goes on failing: calls that only a disk answers, since writes to pipes would fail too.
FOR_GOOD = "fsync,rename,mkdir,unlink,ftruncate,fchmod"


@needs_strace
@pytest.mark.fault("D03")
@pytest.mark.parametrize(
    ("calls", "persistent"), [("write,fsync,close,rename", False), (FOR_GOOD, True)], ids=["once", "from-then-on"]
)
def test_an_io_error_at_some_calls(
    embedded_server: RunningServer, tmp_path: Path, fault_seed: int, calls: str, persistent: bool
) -> None:
    some = dataclasses.replace(BROKEN, calls=calls, persistent=persistent)
    strike_all(some, embedded_server, tmp_path, seed=fault_seed + persistent, most=2)


@needs_strace
@pytest.mark.fault("D03", quick=False)
@pytest.mark.parametrize("call", BROKEN.calls.split(","))
def test_an_io_error_at_every_call(embedded_server: RunningServer, tmp_path: Path, fault_seed: int, call: str) -> None:
    strike_all(dataclasses.replace(BROKEN, calls=call), embedded_server, tmp_path, seed=fault_seed)


@needs_strace
@pytest.mark.fault("D03", quick=False)
@pytest.mark.parametrize("call", FOR_GOOD.split(","))
def test_io_errors_from_every_call_on(
    embedded_server: RunningServer, tmp_path: Path, fault_seed: int, call: str
) -> None:
    strike_all(dataclasses.replace(BROKEN, calls=call, persistent=True), embedded_server, tmp_path, seed=fault_seed)


@needs_strace
@pytest.mark.fault("D02")
def test_no_space_for_the_manifest_alone(
    embedded_server: RunningServer, tmp_path: Path, fault_seed: int, full: bool
) -> None:
    case = Case("D02", "no space", ("backup",), (3,), world=one_backup)
    committing = Enumeration(
        case, "openat,write,fsync,rename,fchmod", "error=ENOSPC", picked=commits, exits=full_or_noted
    )
    strike_all(committing, embedded_server, tmp_path, seed=fault_seed, most=None if full else 2)


@needs_strace
@pytest.mark.fault("D06")
def test_a_quota_that_is_used_up(embedded_server: RunningServer, tmp_path: Path, fault_seed: int) -> None:
    case = Case("D06", "quota", ("backup",), (3,), ("quota",), world=one_backup)
    quota = Enumeration(
        case,
        "write,openat,mkdir,fsync",
        "error=EDQUOT",
        picked=lambda each: in_partial(each) and changes(each),
    )
    strike_all(quota, embedded_server, tmp_path, seed=fault_seed)


@needs_strace
@pytest.mark.fault("D05")
@pytest.mark.parametrize(
    ("calls", "fault"),
    [
        ("write", "retval=0"),
        ("write", "error=EAGAIN"),
        ("write,fsync,openat,ftruncate", "error=EINTR"),
    ],
)
def test_a_call_that_wants_to_be_made_again(
    embedded_server: RunningServer, tmp_path: Path, fault_seed: int, calls: str, fault: str
) -> None:
    case = Case("D05", "again", ("backup",), (0,), world=one_backup)
    again = Enumeration(case, calls, fault, picked=lambda each: in_partial(each) and changes(each))
    strike_all(again, embedded_server, tmp_path, seed=fault_seed)


@needs_strace
@pytest.mark.fault("D04")
@pytest.mark.parametrize(
    ("run", "exits"),
    [(("verify", "{backup}"), (5,)), (("restore", "{backup}", "--force"), (4, 5))],
    ids=["verify", "restore"],
)
def test_an_io_error_while_a_backup_is_read(
    embedded_server: RunningServer, tmp_path: Path, fault_seed: int, run: Sequence[str], exits: Sequence[int]
) -> None:
    case = Case("D04", "reading", run, exits, world=one_changed)

    def right(strike: Strike) -> Sequence[int]:
        # Manifests are read to see what else is there, too; one that cannot be read is no backup then.
        return (0, *exits) if run[0] == "restore" and "manifest.json" in strike.line else exits

    reading = Enumeration(
        case, "read", "error=EIO", picked=lambda each: bool(OF_A_BACKUP.search(each.line)), exits=right
    )
    strike_all(reading, embedded_server, tmp_path, seed=fault_seed, most=12)


def limit(what: int, most: int) -> Any:
    return lambda: resource.setrlimit(what, (most, most))


ELSEWHERE = (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp"), Path.home())


def elsewhere(scene: Scene) -> None:
    """A directory for temporary files from which nothing can be renamed into the backup directory."""
    here = scene.line.directory.stat().st_dev
    places = [place for place in ELSEWHERE if place.is_dir() and place.stat().st_dev != here]
    if not places:
        pytest.skip("needs a second filesystem")
    other = Path(tempfile.mkdtemp(prefix="qdrant-backup-test-", dir=places[0]))
    scene.temporary = other
    scene.line.settings["TMPDIR"] = str(other)


def leave_elsewhere(scene: Scene) -> None:
    left = list(scene.temporary.iterdir())
    shutil.rmtree(scene.temporary)
    assert left == []
    scene.temporary.mkdir()


def one_changed_alone(scene: Scene) -> None:
    """One collection in a backup, changed since."""
    scene.lab.make(NAME, points_of(20), indexes={"group": "keyword"})
    changed(scene, NAME)


HUGE = "2026-02-03_143052"
HUGE_BYTES = 2 << 30


def huge_snapshot(scene: Scene) -> None:
    """A backup whose snapshot is two gigabytes of holes, as Qdrant's archives have them."""
    segment = f"0/segments/{SEGMENT}/files/vector_storage/vectors/chunk_1.mmap"
    data = archive([*shard_items("0/"), (segment, (HUGE_BYTES, [])), *root_items()])
    stored = published(scene.line.backups)
    (stored.path / "qdrant" / "docs.snapshot").write_bytes(data)
    old, new = stored.manifest.collections["docs"], hashlib.sha256(data).hexdigest()
    manifest = stored.path / "manifest.json"
    text = manifest.read_text("utf-8").replace(old.sha256, new)
    manifest.write_text(text.replace(f'"size_bytes": {old.size_bytes}', f'"size_bytes": {len(data)}'), "utf-8")
    sums = stored.path / "SHA256SUMS"
    lines = sums.read_text("utf-8").replace(old.sha256, new)
    own = hashlib.sha256(manifest.read_bytes()).hexdigest()
    sums.write_text(re.sub(r"(?m)^[0-9a-f]{64}(?=  manifest.json$)", own, lines), "utf-8")


CASES = (
    *(
        Case("D06", f"files of at most {most} bytes", ("backup",), (3,), ("limit on the size of single files",),
             world=one_backup, options={"preexec_fn": limit(resource.RLIMIT_FSIZE, most)})
        for most in (150, 1_000, 60_000)
    ),
    *(
        Case("D11", f"{handles} file handles for {run[0]} of {world.__name__}", run, (0,), on=BOTH, world=world,
             options={"preexec_fn": limit(resource.RLIMIT_NOFILE, handles)}, also=("G1",))
        for handles, world, run in (
            (20, one_backup, ("backup",)),
            (20, one_changed_alone, ("verify", "{backup}", "--content")),
            (20, one_changed_alone, ("restore", "{backup}", "--force")),
            # Up to three collections are under way at once, however many there are.
            (64, five_changed, ("backup",)),
            (64, five_changed, ("restore", "{backup}", "--force")),
        )
    ),
    *(
        Case("D11", f"256 MB of address space for {run[0]}", run, exits, silent=("Traceback",), world=one_changed_alone,
             damage=huge_snapshot, options={"preexec_fn": limit(resource.RLIMIT_AS, 256 << 20)}, also=("G3", "G5"))
        # The engine, and the threads that feed it, need more: refused, and nothing is left.
        for run, exits in ((("verify", HUGE), (0,)), (("list",), (0,)), (("backup",), (0, 2)))
    ),
    *(
        Case("D08", f"temporary files elsewhere for {' '.join(run)}", run, (0,), world=world,
             damage=elsewhere, mend=leave_elsewhere)
        for run, world in (
            (("backup",), one_backup),
            (("verify", "{backup}", "--content"), one_changed),
            (("restore", "{backup}", "--force"), one_changed),
        )
    ),
)  # fmt: skip


@pytest.mark.parametrize(("case", "kind"), parameters(CASES))
def test_disk(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
