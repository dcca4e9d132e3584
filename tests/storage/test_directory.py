"""The backup directory: what is listed is whole, what is meant is found, and what a killed run left is cleared away."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdrant_backup.errors import (
    BackupInvalid,
    BackupNotFound,
    Incompatible,
    InsufficientSpace,
    IntegrityFailed,
    Locked,
    NotWritable,
    RefusedForSafety,
    UsageError,
)
from qdrant_backup.layout import backup_id_at
from qdrant_backup.model import BackupId
from qdrant_backup.storage.directory import BackupDirectory
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.verify import check_files
from support.stored import FIRST, SNAPSHOT, manifest_of, published

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_backup.clock import Clock

LATER = FIRST + timedelta(hours=1)
ID = BackupId("2026-02-03_143052")


@pytest.fixture
def lock(tmp_path: Path, clock: Clock) -> Iterator[DirectoryLock]:
    with DirectoryLock(tmp_path, clock, "test") as held:
        yield held


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {".lock"}


def test_a_directory_that_does_not_exist_holds_no_backup(tmp_path: Path) -> None:
    listing = BackupDirectory(tmp_path / "none").survey()
    assert (listing.backups, listing.invalid) == ((), ())
    with pytest.raises(BackupNotFound, match="no backup in"):
        BackupDirectory(tmp_path / "none").find("latest")


def test_a_published_backup_is_listed_whole_and_verifies(tmp_path: Path) -> None:
    stored = published(tmp_path)
    assert stored.path == tmp_path / ID
    assert stored.backup_id == stored.manifest.backup_id == ID
    [listed] = BackupDirectory(tmp_path).entries()
    assert listed == stored
    assert check_files(listed) == []
    assert b"".join(listed.blocks("qdrant/docs.snapshot")) == SNAPSHOT
    with listed.open("config/.env") as file:
        assert file.read() == b"QDRANT_PORT=26350\n"


def test_the_manifest_lists_every_file_and_nothing_else_is_there(tmp_path: Path) -> None:
    stored = published(tmp_path)
    on_disk = {path.relative_to(stored.path).as_posix() for path in stored.path.rglob("*") if path.is_file()}
    assert on_disk == {file.path for file in stored.manifest.files} | {"manifest.json", "SHA256SUMS"}
    assert names(tmp_path) == {ID}


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_checks_a_backup_without_us(tmp_path: Path) -> None:
    stored = published(tmp_path)
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=stored.path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "manifest.json: OK" in done.stdout
    assert done.stdout.count(": OK") == 3


def test_every_mode_in_a_backup_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        stored = published(tmp_path)
    finally:
        os.umask(before)
    for path in [stored.path, *stored.path.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_an_unfinished_backup_is_not_there(tmp_path: Path) -> None:
    directory = BackupDirectory(tmp_path)
    with directory.begin(ID) as partial:
        partial.write("qdrant/docs.snapshot", SNAPSHOT)
        assert directory.survey() == directory.survey(safety=True)
        with pytest.raises(BackupNotFound):
            directory.find(ID)
        with pytest.raises(BackupInvalid, match="never finished"):
            directory.find(str(partial.path))
    assert names(tmp_path) == set()


def test_an_error_inside_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with BackupDirectory(tmp_path).begin(ID) as partial:
            partial.create("qdrant/docs.snapshot").write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert names(tmp_path) == set()


def test_a_second_backup_in_one_second_gets_a_number_whatever_the_first_one_is(tmp_path: Path) -> None:
    directory = BackupDirectory(tmp_path)
    published(tmp_path)
    published(tmp_path, safety=True)
    with directory.begin(ID) as third, directory.begin(ID) as fourth:
        assert [third.backup_id, fourth.backup_id] == [f"{ID}-3", f"{ID}-4"]
    (tmp_path / f".{ID}-3.deleting").mkdir()
    with directory.begin(ID) as again:
        assert again.backup_id == f"{ID}-4"


def test_what_is_no_backup_id_begins_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a backup id"):
        BackupDirectory(tmp_path).begin(BackupId("../escape"))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("path", ["../f", "/f", "a/../f", "", "a//f", "a\\f"])
def test_no_file_is_made_outside_the_backup(tmp_path: Path, path: str) -> None:
    with BackupDirectory(tmp_path).begin(ID) as partial, pytest.raises(IntegrityFailed):
        partial.create(path)


def test_a_file_dropped_can_be_written_again_by_another_method(tmp_path: Path) -> None:
    with BackupDirectory(tmp_path).begin(ID) as partial:
        partial.create("qdrant/docs.snapshot").write(b"the first try")
        partial.drop("qdrant/docs.snapshot")
        partial.drop("qdrant/never.snapshot")
        partial.write("qdrant/docs.snapshot", SNAPSHOT)
        stored = partial.publish(manifest_of(FIRST))
    assert check_files(stored) == []


def test_a_file_another_program_wrote_is_adopted_private_and_with_its_checksum(tmp_path: Path) -> None:
    with BackupDirectory(tmp_path).begin(ID) as partial:
        partial.write("qdrant/docs.snapshot", SNAPSHOT)
        partial.place("digest/docs.digest").write_bytes(b"digest")
        (partial.path / "digest/docs.digest").chmod(0o666)
        entry = partial.adopt("digest/docs.digest")
        stored = partial.publish(manifest_of(FIRST))
    assert entry in stored.manifest.files
    assert (stored.path / entry.path).stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_adopted(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with BackupDirectory(tmp_path / "b").begin(ID) as partial:
        partial.place("digest/docs.digest").symlink_to(tmp_path / "secret")
        with pytest.raises(IntegrityFailed, match="symbolic link"):
            partial.adopt("digest/docs.digest")


def test_an_open_file_keeps_a_backup_from_being_published(tmp_path: Path) -> None:
    with BackupDirectory(tmp_path).begin(ID) as partial:
        partial.create("qdrant/docs.snapshot")
        with pytest.raises(ValueError, match="still open"):
            partial.publish(manifest_of(FIRST))


def test_a_name_taken_meanwhile_is_not_published_over(tmp_path: Path) -> None:
    with BackupDirectory(tmp_path).begin(ID) as partial:
        partial.write("qdrant/docs.snapshot", SNAPSHOT)
        (tmp_path / ID).mkdir()
        with pytest.raises(NotWritable, match="has appeared"):
            partial.publish(manifest_of(FIRST))
    assert list((tmp_path / ID).iterdir()) == []


@pytest.mark.fault("D10")
def test_a_backup_directory_that_goes_away_is_not_made_again(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    with BackupDirectory(root).begin(ID) as partial:
        root.rename(tmp_path / "unmounted")
        with pytest.raises(NotWritable):
            partial.create("qdrant/docs.snapshot")
        with pytest.raises(NotWritable):
            partial.publish(manifest_of(FIRST))
    assert not root.exists()


@pytest.mark.fault("D02")
@pytest.mark.parametrize("step", ["fsync", "write", "open", "unlink", "rename"])
def test_no_room_at_any_step_of_publishing_leaves_the_earlier_backups_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    earlier = published(tmp_path)
    owner: Any = Path if step in {"unlink", "rename"} else os
    real = getattr(owner, step)
    nth = 0
    while True:
        calls = 0

        def counted(*arguments: Any, _nth: int = nth, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > _nth:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        directory = BackupDirectory(tmp_path)
        partial = directory.begin(backup_id_at(LATER))
        partial.write("qdrant/docs.snapshot", SNAPSHOT)
        monkeypatch.setattr(owner, step, counted)
        try:
            stored = partial.publish(manifest_of(LATER))
        except InsufficientSpace:
            monkeypatch.undo()
            partial.discard()
            assert directory.entries() == [earlier]
            assert names(tmp_path) == {earlier.backup_id}
            nth += 1
            continue
        monkeypatch.undo()
        assert directory.entries() == [stored, earlier]
        break
    assert nth > 0
    assert check_files(earlier) == []


@pytest.mark.fault("D09")
def test_all_is_durable_before_the_name_and_the_name_before_we_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        real_fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        events.append(f"rename {target}")
        return real_rename(self, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to name descriptors")
    partial = BackupDirectory(tmp_path).begin(ID)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    partial.write("qdrant/docs.snapshot", SNAPSHOT)
    partial.publish(manifest_of(FIRST))
    at = str(partial.path)
    order = [
        f"fsync {at}/qdrant/docs.snapshot",
        f"fsync {at}/qdrant",
        f"fsync {at}/manifest.json",
        f"fsync {at}/SHA256SUMS",
        f"fsync {at}",
        f"rename {tmp_path / ID}",
        f"fsync {tmp_path}",
    ]
    last = [max(index for index, event in enumerate(events) if event == each) for each in order]
    assert last == sorted(last)


def test_backups_are_listed_by_when_they_finished_newest_first(tmp_path: Path) -> None:
    second, first = published(tmp_path, LATER), published(tmp_path, FIRST)
    assert BackupDirectory(tmp_path).entries() == [second, first]
    assert BackupDirectory(tmp_path).find("latest") == second


def test_backups_of_one_second_are_listed_by_number(tmp_path: Path) -> None:
    for _ in range(11):
        published(tmp_path)
    listed = [backup.backup_id for backup in BackupDirectory(tmp_path).entries()]
    assert listed[:3] == [f"{ID}-11", f"{ID}-10", f"{ID}-9"]
    assert listed[-1] == ID


def test_safety_backups_are_listed_apart_and_never_the_latest(tmp_path: Path) -> None:
    ordinary = published(tmp_path, FIRST)
    safety = published(tmp_path, LATER, safety=True)
    directory = BackupDirectory(tmp_path)
    assert safety.path.name == f".safety-{safety.backup_id}"
    assert safety.is_safety
    assert directory.entries() == [ordinary]
    assert directory.entries(safety=True) == [safety]
    assert directory.find("latest") == ordinary
    assert directory.find(safety.backup_id) == directory.find(f".safety-{safety.backup_id}") == safety
    shutil.copytree(safety.path, tmp_path / safety.backup_id)
    assert directory.find("latest") == ordinary


def test_a_backup_with_a_missing_file_is_not_the_latest_and_says_what_is_missing(tmp_path: Path) -> None:
    good, broken = published(tmp_path, FIRST), published(tmp_path, LATER)
    (broken.path / "qdrant/docs.snapshot").unlink()
    directory = BackupDirectory(tmp_path)
    assert directory.find("latest") == good
    found = directory.find(broken.backup_id)
    assert not found.is_whole
    assert [str(finding) for finding in found.findings] == ["qdrant/docs.snapshot: it is missing"]


def no_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def empty_manifest(path: Path) -> None:
    (path / "manifest.json").write_bytes(b"")


def no_json(path: Path) -> None:
    (path / "manifest.json").write_bytes(b"<html>")


def newer_format(path: Path) -> None:
    (path / "manifest.json").write_bytes(b'{"format": 99}')


def climbing(path: Path) -> None:
    raw = json.loads((path / "manifest.json").read_bytes())
    raw["files"].append({"path": "../../etc/passwd", "size_bytes": 1, "sha256": "0" * 64})
    (path / "manifest.json").write_text(json.dumps(raw))


def linked_manifest(path: Path) -> None:
    (path / "manifest.json").rename(path / "other.json")
    (path / "manifest.json").symlink_to("other.json")


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (no_manifest, BackupInvalid),
        (empty_manifest, BackupInvalid),
        (no_json, BackupInvalid),
        (newer_format, Incompatible),
        (climbing, IntegrityFailed),
        (linked_manifest, IntegrityFailed),
    ],
)
def test_without_a_valid_manifest_there_is_no_backup(tmp_path: Path, break_it: Any, error: type[Exception]) -> None:
    good, broken = published(tmp_path, FIRST), published(tmp_path, LATER)
    break_it(broken.path)
    directory = BackupDirectory(tmp_path)
    listing = directory.survey()
    assert listing.backups == (good,)
    [invalid] = listing.invalid
    assert invalid.path == broken.path
    assert isinstance(invalid.error, error)
    assert directory.find("latest") == good
    for reference in (broken.backup_id, str(broken.path)):
        with pytest.raises(error):
            directory.find(reference)


def test_other_things_in_the_directory_are_none_of_ours(tmp_path: Path, lock: DirectoryLock) -> None:
    stored = published(tmp_path)
    shutil.copytree(stored.path, tmp_path / "a copy by hand")
    (tmp_path / "2026-02-04_000000").symlink_to(stored.path)
    (tmp_path / "2026-02-05_000000").write_bytes(b"a file")
    (tmp_path / ".hidden").mkdir()
    directory = BackupDirectory(tmp_path)
    assert directory.entries() == [stored]
    before = names(tmp_path)
    directory.sweep(lock)
    assert names(tmp_path) == before


def test_a_backup_is_found_by_a_path_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = published(tmp_path / "here")
    moved = tmp_path / "elsewhere" / "my backup"
    moved.parent.mkdir()
    stored.path.rename(moved)
    directory = BackupDirectory(tmp_path / "here")
    found = directory.find(str(moved))
    assert (found.backup_id, found.path) == (ID, moved)
    monkeypatch.chdir(moved.parent)
    assert directory.find("./my backup/").path == moved
    assert directory.find("my backup").path == moved
    monkeypatch.chdir(moved)
    assert directory.find(".").path == moved


def test_a_file_named_as_a_backup_is_invalid_and_nothing_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    directory = BackupDirectory(tmp_path)
    with pytest.raises(BackupInvalid, match="not a directory"):
        directory.find(str(tmp_path / "file"))
    for reference in (str(tmp_path / "none"), "none", "", "2026-02-03_143052", "2026"):
        with pytest.raises(BackupNotFound):
            directory.find(reference)


def test_the_id_is_the_directorys_name_when_it_is_one(tmp_path: Path) -> None:
    stored = published(tmp_path)
    shutil.copytree(stored.path, tmp_path / "2026-02-04_000000")
    assert BackupDirectory(tmp_path).find("2026-02-04_000000").backup_id == "2026-02-04_000000"


@given(
    seconds=st.sets(st.integers(0, 200), min_size=1, max_size=6),
    twice=st.booleans(),
    cut=st.integers(1, 19),
)
@settings(max_examples=25, deadline=None)
def test_a_prefix_names_a_backup_exactly_when_no_other_begins_so(
    tmp_path_factory: pytest.TempPathFactory, seconds: set[int], twice: bool, cut: int
) -> None:
    root = tmp_path_factory.mktemp("backups")
    moments = [FIRST + timedelta(seconds=second) for second in sorted(seconds)]
    stored = [published(root, moment) for moment in (moments + moments[:1] if twice else moments)]
    directory = BackupDirectory(root)
    for backup in stored:
        assert directory.find(backup.backup_id) == backup
        prefix = backup.backup_id[:cut]
        fitting = [other for other in stored if other.backup_id.startswith(prefix)]
        if prefix in {other.backup_id for other in stored}:
            assert directory.find(prefix).backup_id == prefix
        elif len(fitting) == 1:
            assert directory.find(prefix) == backup
        else:
            with pytest.raises(UsageError, match=f"could mean {len(fitting)}"):
                directory.find(prefix)


def test_a_manifest_of_the_original_scripts_is_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "2026-02-03_143052"
    (path / "qdrant").mkdir(parents=True)
    (path / "config").mkdir()
    (path / "qdrant/docs.snapshot").write_bytes(SNAPSHOT)
    (path / "config/.env").write_bytes(b"A=1\n")
    (path / "logs").mkdir()
    (path / "logs/app.log").write_bytes(b"log")
    entry = {"name": "docs", "records": 3, "snapshot_file": "docs.snapshot", "size_bytes": len(SNAPSHOT)}
    manifest = {
        "backup_date": "2026-02-03T14:30:52.123456+00:00",
        "ai_memory_version": "2.0.2",
        "qdrant_host": "localhost",
        "qdrant_port": 26350,
        "collections": {"docs": entry},
        "config_files": [".env"],
        "includes_logs": True,
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    directory = BackupDirectory(tmp_path)
    found = directory.find("latest")
    assert found.finished_at == datetime(2026, 2, 3, 14, 30, 52, 123456, timezone.utc)
    assert found.size_bytes == len(SNAPSHOT)
    assert check_files(found) == []
    (path / "config/.env").unlink()
    assert not directory.find(ID).is_whole


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-02-03T15:00:00Z", FIRST.replace(hour=15, minute=0, second=0)),
        ("2026-02-03T16:00:00+01:00", FIRST.replace(hour=15, minute=0, second=0)),
        ("2026-02-03T15:00:00", FIRST.replace(hour=15, minute=0, second=0)),
        ("yesterday", FIRST),
    ],
)
def test_the_date_of_a_backup_is_understood_or_taken_from_its_name(tmp_path: Path, text: str, moment: datetime) -> None:
    with BackupDirectory(tmp_path).begin(ID) as partial:
        partial.write("qdrant/docs.snapshot", SNAPSHOT)
        assert partial.publish(manifest_of(FIRST, finished_at=text)).finished_at == moment


def test_deleting_a_backup_leaves_the_others(tmp_path: Path, lock: DirectoryLock) -> None:
    doomed, kept = published(tmp_path, FIRST), published(tmp_path, LATER)
    safety = published(tmp_path, LATER, safety=True)
    directory = BackupDirectory(tmp_path)
    directory.remove(doomed, lock)
    directory.remove(safety, lock)
    assert names(tmp_path) == {kept.backup_id}


def test_a_backup_that_lies_elsewhere_is_never_deleted(tmp_path: Path, lock: DirectoryLock) -> None:
    elsewhere = published(tmp_path / "elsewhere")
    renamed = published(tmp_path)
    renamed.path.rename(tmp_path / "precious")
    directory = BackupDirectory(tmp_path)
    for backup in (elsewhere, directory.find(str(tmp_path / "precious"))):
        with pytest.raises(RefusedForSafety):
            directory.remove(backup, lock)
        assert check_files(backup) == []


def test_nothing_is_deleted_once_the_lock_is_lost(tmp_path: Path, lock: DirectoryLock) -> None:
    stored = published(tmp_path)
    (tmp_path / f".{ID}-2.partial").mkdir()
    (tmp_path / ".lock").unlink()
    directory = BackupDirectory(tmp_path)
    with pytest.raises(Locked):
        directory.remove(stored, lock)
    with pytest.raises(Locked):
        directory.sweep(lock)
    assert directory.entries() == [stored]
    assert (tmp_path / f".{ID}-2.partial").exists()


def test_a_deletion_that_was_cut_short_is_invisible_and_swept(
    tmp_path: Path, lock: DirectoryLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = published(tmp_path)
    directory = BackupDirectory(tmp_path)

    def fail(_path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "rmtree", fail)
    with pytest.raises(NotWritable):
        directory.remove(stored, lock)
    assert directory.survey().backups == directory.survey().invalid == ()
    assert [left.path.name for left in directory.sweep(lock).left] == [f".{ID}.deleting"]
    monkeypatch.undo()
    assert [path.name for path in directory.sweep(lock).removed] == [f".{ID}.deleting"]
    assert names(tmp_path) == set()


def test_wrecks_of_the_dead_are_swept_and_what_lives_is_left(tmp_path: Path, lock: DirectoryLock) -> None:
    directory = BackupDirectory(tmp_path)
    stored = published(tmp_path)
    (tmp_path / ".2026-01-01_000000.partial" / "qdrant").mkdir(parents=True)
    (tmp_path / ".2026-01-02_000000.partial").mkdir()
    (tmp_path / ".2026-01-02_000000.partial" / ".owner").write_bytes(b"")
    (tmp_path / ".catalogue.json.0123456789ab.tmp").write_bytes(b"")
    (tmp_path / ".intents").mkdir()
    (tmp_path / ".intents" / ".a.json.0123456789ab.tmp").write_bytes(b"")
    target = tmp_path / "target"
    target.mkdir()
    (target / "f").write_bytes(b"x")
    (tmp_path / ".2026-01-03_000000.partial").symlink_to(target)
    alive = directory.begin(backup_id_at(LATER))
    assert len(directory.sweep(lock).removed) == 5
    assert names(tmp_path) == {stored.path.name, alive.path.name, ".intents", "target"}
    assert (target / "f").exists()
    alive.discard()


def test_a_stored_backup_is_a_value(tmp_path: Path) -> None:
    stored = published(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stored.path = tmp_path  # type: ignore[misc]


def test_backups_are_named_by_how_many_came_after_them_and_by_time(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    oldest, middle, newest = (published(tmp_path, FIRST + number * hour) for number in range(3))
    published(tmp_path, FIRST + 5 * hour, safety=True)
    directory = BackupDirectory(tmp_path)

    found = [directory.find(f"latest~{number}").path for number in range(3)]
    assert found == [newest.path, middle.path, oldest.path]
    with pytest.raises(BackupNotFound, match="latest~3"):
        directory.find("latest~3")
    assert directory.as_of(FIRST + hour).path == middle.path
    assert directory.as_of(FIRST + 2 * hour - timedelta(seconds=1)).path == middle.path
    assert directory.as_of(FIRST + 100 * hour).path == newest.path
    with pytest.raises(BackupNotFound, match="oldest was finished"):
        directory.as_of(FIRST - hour)
    with pytest.raises(BackupNotFound, match="no complete backup"):
        BackupDirectory(tmp_path / "none").as_of(FIRST)


@pytest.mark.parametrize(
    ("text", "could"),
    [
        ("latest", True),
        ("latest~4", True),
        ("2026-02-03", True),
        ("2026-02-03_143052", True),
        ("a/b", True),
        ("race", False),
        ("latest news", False),
        ("2026 budget", False),
        ("", False),
    ],
)
def test_words_are_told_from_names_of_backups(tmp_path: Path, text: str, could: bool) -> None:
    assert BackupDirectory(tmp_path).could_mean(text) == could
