"""Opening: the cache, the guarded child that serves what was opened, and what becomes of the damaged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.engine import cache as cache_module
from qdrant_backup.engine.cache import _claimed
from qdrant_backup.engine.opened import ArchiveSource, Opened, Openings, Wanted
from qdrant_backup.errors import ContentUnreadable, InsufficientSpace, IntegrityFailed, NotWritable, QdrantBackupError
from support.original_backup import OriginalBackup, unpack_original_backup

KEY = "key-of-the-readers"
COLLECTION = "code-patterns"
POINTS = 8
ALIVE_S = 60.0


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> OriginalBackup:
    return unpack_original_backup(tmp_path_factory.mktemp("original"))


@dataclasses.dataclass
class Archive:
    """A snapshot that says how often it was read."""

    data: bytes
    sha256: str = ""
    name: str = COLLECTION
    read: int = 0

    @classmethod
    def of(cls, backup: OriginalBackup, name: str = COLLECTION) -> Archive:
        data = backup.snapshot(name).read_bytes()
        return cls(data, hashlib.sha256(data).hexdigest(), name)

    def _blocks(self) -> Iterator[bytes]:
        self.read += 1
        for at in range(0, len(self.data), 1 << 16):
            yield self.data[at : at + (1 << 16)]

    @property
    def source(self) -> ArchiveSource:
        key = hashlib.sha256(self.data).hexdigest()
        return ArchiveSource(self.name, key, len(self.data), self.sha256, self._blocks)

    @property
    def wanted(self) -> list[Wanted]:
        return [Wanted(self.name, self.source)]


@pytest.fixture
def archive(backup: OriginalBackup) -> Archive:
    return Archive.of(backup)


@pytest.fixture
def openings(tmp_path: Path) -> Openings:
    return Openings(tmp_path / "cache")


def ask(opened: Opened, method: str, path: str, body: Any = None, key: str | None = KEY) -> tuple[int, Any]:
    headers = {"content-type": "application/json", **({"api-key": key} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{opened.port}{path}", data, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ALIVE_S) as answer:
            return answer.status, json.loads(answer.read())["result"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def count(opened: Opened, name: str = COLLECTION) -> int:
    status, found = ask(opened, "POST", f"/collections/{name}/points/count", {"exact": True})
    assert status == 200, found
    return found["count"]


def copies(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir())


def test_a_second_opening_reads_nothing_of_the_archive(archive: Archive, openings: Openings):
    for _ in range(2):
        with openings.served(archive.wanted, api_key=KEY) as opened:
            assert count(opened) == POINTS

    assert archive.read == 1


def test_two_at_the_same_time_have_a_copy_each(archive: Archive, openings: Openings, tmp_path: Path):
    with (
        openings.served(archive.wanted, api_key=KEY) as first,
        Openings(tmp_path / "cache").served(archive.wanted, api_key=KEY) as second,
    ):
        assert first.directories[COLLECTION] != second.directories[COLLECTION]
        assert (count(first), count(second)) == (POINTS, POINTS)

    assert len(copies(tmp_path / "cache")) == 2


def test_reading_takes_the_key_and_writing_is_refused_with_it(archive: Archive, openings: Openings):
    path = f"/collections/{COLLECTION}"
    with openings.served(archive.wanted, api_key=KEY) as opened:
        assert ask(opened, "GET", path, key=None)[0] == 401
        assert ask(opened, "GET", path, key="another")[0] == 401
        for method, inner, body in (
            ("PUT", "/points", {"points": []}),
            ("POST", "/points/delete", {"points": [1]}),
            ("DELETE", "", None),
            ("PATCH", "", {}),
            ("PUT", "/index", {"field_name": "x", "field_schema": "keyword"}),
            ("POST", "/snapshots", None),
        ):
            status, said = ask(opened, method, path + inner, body)
            assert (status, "for reading only" in said) == (403, True), (method, inner, said)
        assert count(opened) == POINTS


def test_without_a_key_everybody_reads_and_nobody_writes(archive: Archive, openings: Openings):
    with openings.served(archive.wanted, api_key=None) as opened:
        assert ask(opened, "GET", f"/collections/{COLLECTION}", key=None)[0] == 200
        assert ask(opened, "DELETE", f"/collections/{COLLECTION}", key=None)[0] == 403


def spoiled(archive: Archive, how: str) -> Archive:
    data = bytearray(archive.data)
    if how == "flipped":
        data[len(data) // 2] ^= 0xFF
    elif how == "cut":
        del data[len(data) * 2 // 3 :]
    else:
        data[:512] = b"\xff" * 512
    return Archive(bytes(data), archive.sha256)


@pytest.mark.parametrize("how", ["flipped", "cut", "no archive"])
def test_a_damaged_archive_is_refused_by_name_and_leaves_nothing(
    archive: Archive, openings: Openings, tmp_path: Path, how: str
):
    damaged = spoiled(archive, how)

    with pytest.raises(IntegrityFailed) as refused, openings.served(damaged.wanted, api_key=KEY):
        pass

    assert refused.value.why
    assert refused.value.collection == COLLECTION
    assert copies(tmp_path / "cache") == []


def test_an_archive_that_the_engine_refuses_is_refused(archive: Archive, openings: Openings, tmp_path: Path):
    # Without a checksum, as in backups of the original scripts, only the walk and the engine can tell.
    at = archive.data.index(b'{"version"') if b'{"version"' in archive.data else archive.data.index(b'"version"')
    data = bytearray(archive.data)
    data[at : at + 4] = b"\0\0\0\0"

    with pytest.raises(QdrantBackupError), openings.served(Archive(bytes(data)).wanted, api_key=KEY):
        pass


def test_a_copy_that_was_spoiled_is_made_anew(archive: Archive, openings: Openings, tmp_path: Path):
    with openings.served(archive.wanted, api_key=KEY):
        pass
    [copy] = copies(tmp_path / "cache")
    for segment in copy.glob("collection/0/segments/*/segment.json"):
        segment.write_bytes(b"{}")

    with openings.served(archive.wanted, api_key=KEY) as opened:
        assert count(opened) == POINTS

    assert archive.read == 2


def test_what_the_log_had_to_add_is_added_once(archive: Archive, openings: Openings, tmp_path: Path):
    with openings.served(archive.wanted, api_key=KEY):
        copy = tmp_path / "cache" / archive.source.key
        acknowledged = json.loads((copy / "collection/0/wal/first-index").read_bytes())

    assert b"first-index" not in archive.data
    assert acknowledged["ack_index"] > 0


def test_a_copy_of_an_earlier_boot_is_unpacked_again(
    archive: Archive, openings: Openings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(cache_module, "_BOOT", boot)
    read: list[int] = []
    for name in ("first", "first", "second"):
        boot.write_text(f"{name}\n")
        with openings.served(archive.wanted, api_key=KEY) as opened:
            assert count(opened) == POINTS
        read.append(archive.read)

    assert read == [1, 1, 2]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads from Linux what a descriptor is")
def test_where_boots_have_no_name_a_copy_is_fsynced_and_kept(
    archive: Archive, openings: Openings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: set[str] = set()
    monkeypatch.setattr(cache_module, "_BOOT", tmp_path / "absent")
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink())))
    for _ in range(2):
        with openings.served(archive.wanted, api_key=KEY) as opened:
            assert count(opened) == POINTS

    assert archive.read == 1
    assert {"facts.json", "segment.json"} <= {Path(name).name for name in synced}


def test_facts_that_make_no_sense_are_no_copy(archive: Archive, openings: Openings, tmp_path: Path):
    for _ in range(2):
        with openings.served(archive.wanted, api_key=KEY) as opened:
            assert count(opened) == POINTS
        (tmp_path / "cache" / archive.source.key / "facts.json").write_bytes(b"")

    assert archive.read == 2


def test_what_was_used_longest_ago_makes_room(backup: OriginalBackup, tmp_path: Path):
    first, second = Archive.of(backup), Archive.of(backup, "conventions")
    third = Archive.of(backup, "jira-data")
    limit = max(len(one.data) for one in (first, second, third)) + 4096
    openings = Openings(tmp_path / "cache", most_bytes=limit)
    for one in (first, second):
        with openings.served(one.wanted, api_key=KEY):
            pass
    for path in copies(tmp_path / "cache"):
        os.utime(path, (1, 1) if path.name == first.source.key else None)

    with openings.served(third.wanted, api_key=KEY):
        names = {path.name for path in copies(tmp_path / "cache")}

    assert third.source.key in names
    assert first.source.key not in names


def test_an_archive_larger_than_the_cache_is_refused(archive: Archive, tmp_path: Path):
    openings = Openings(tmp_path / "cache", most_bytes=1000)

    with pytest.raises(InsufficientSpace, match="limited to") as refused, openings.served(archive.wanted, api_key=KEY):
        pass

    assert "QDRANT_BACKUP_CACHE_BYTES" in refused.value.advice
    assert archive.read == 0


def test_a_copy_in_use_is_not_removed(backup: OriginalBackup, tmp_path: Path):
    first, second = Archive.of(backup), Archive.of(backup, "conventions")
    openings = Openings(tmp_path / "cache", most_bytes=max(len(first.data), len(second.data)) + 4096)
    with openings.served(first.wanted, api_key=KEY) as opened:
        with pytest.raises(InsufficientSpace), openings.served(second.wanted, api_key=KEY):
            pass
        assert count(opened) == POINTS


def test_what_a_running_server_keeps_beside_its_copy_is_not_removed(backup: OriginalBackup, tmp_path: Path):
    first, second = Archive.of(backup), Archive.of(backup, "conventions")
    root = tmp_path / "cache"
    with Openings(root).served(first.wanted, api_key=KEY):
        [kept] = [path for path in copies(root) if path.name != first.source.key]
        os.utime(kept, (1, 1))
        with pytest.raises(InsufficientSpace), Openings(root, most_bytes=1).served(second.wanted, api_key=KEY):
            pass

        assert kept.is_dir()
        assert {path.stem for path in root.glob("*.lock")} == {first.source.key, second.source.key}


def test_a_taken_port_is_said(archive: Archive, openings: Openings):
    with (
        openings.served(archive.wanted, api_key=KEY) as opened,
        pytest.raises(NotWritable, match=str(opened.port)),
        openings.served(archive.wanted, api_key=KEY, port=opened.port),
    ):
        pass


def test_a_cache_that_cannot_be_made_is_said(archive: Archive, tmp_path: Path):
    (tmp_path / "file").touch()

    with (
        pytest.raises(NotWritable) as refused,
        Openings(tmp_path / "file" / "cache").served(archive.wanted, api_key=KEY),
    ):
        pass

    assert "QDRANT_BACKUP_CACHE_DIR" in refused.value.advice


OPEN_AND_HANG = """
import sys, time
from pathlib import Path
from qdrant_backup.engine.opened import ArchiveSource, Openings, Wanted
path = Path(sys.argv[1])
source = ArchiveSource("x", "k", path.stat().st_size, "", lambda: iter([path.read_bytes()]))
with Openings(Path(sys.argv[2])).served([Wanted("x", source)], api_key="k") as opened:
    print(opened.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name != "posix", reason="locks end with their process only there")
def test_the_child_ends_with_a_parent_that_is_killed(backup: OriginalBackup, tmp_path: Path):
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", OPEN_AND_HANG, str(backup.snapshot(COLLECTION)), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 0
        parent.kill()
    # The child holds the copy's lock until it is gone.
    deadline = time.monotonic() + ALIVE_S
    while (claim := _claimed(cache / "k.lock")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    claim.end()

    # And nothing of it stands in the way of the next.
    archive = Archive.of(backup)
    source = dataclasses.replace(archive.source, key="k")
    with Openings(cache).served([Wanted(COLLECTION, source)], api_key=KEY) as opened:
        assert count(opened) == POINTS
    assert archive.read == 0
    assert [path.name for path in copies(cache)] == ["k"]


def test_a_server_that_dies_is_the_engines_failure(archive: Archive, openings: Openings):
    with openings.served(archive.wanted, api_key=KEY) as opened:
        assert opened.death() is None
        os.kill(opened.pid, 9)

        with pytest.raises(QdrantBackupError, match="killed"):
            opened.wait()


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="reads another process's limits from Linux")
def test_the_child_has_bounds_on_its_memory_and_its_files(archive: Archive, openings: Openings):
    with openings.served(archive.wanted, api_key=KEY) as opened:
        lines = Path(f"/proc/{opened.pid}/limits").read_text().splitlines()
    soft = {line[:26].strip(): line[26:].split()[0] for line in lines[1:]}

    assert 0 < int(soft["Max address space"]) < 1 << 40
    assert 0 < int(soft["Max file size"]) < 1 << 36
    assert soft["Max core file size"] == "0"


@pytest.mark.skipif(
    platform.machine() not in {"x86_64", "aarch64"} or sys.platform != "linux", reason="see unsynced.py"
)
def test_the_child_waits_for_no_disk(archive: Archive, openings: Openings):
    with openings.served(archive.wanted, api_key=KEY) as opened:
        status = Path(f"/proc/{opened.pid}/status").read_text()

    assert "\nSeccomp:\t2\n" in status


def test_a_server_that_is_not_open_in_time_is_ended(backup: OriginalBackup, tmp_path: Path):
    slow = Archive.of(backup, "jira-data")  # 0.1 s for its size, in which no Python has loaded the engine yet
    openings = Openings(tmp_path / "cache", silence_s=0.001)

    with pytest.raises(ContentUnreadable, match="not open after"), openings.served(slow.wanted, api_key=KEY):
        pass


def test_the_cache_is_this_users_alone(archive: Archive, openings: Openings, tmp_path: Path):
    with openings.served(archive.wanted, api_key=KEY):
        modes = {path.stat().st_mode & 0o077 for path in [tmp_path / "cache", *copies(tmp_path / "cache")]}

    assert modes == {0}
