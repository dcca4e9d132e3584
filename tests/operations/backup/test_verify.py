"""`verify` finds whatever is wrong with a backup, and nothing else."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from qdrant_backup.archive import tar
from qdrant_backup.errors import BackupNotFound, QdrantBackupError
from qdrant_backup.operations.events import Warned
from qdrant_backup.operations.verify import verify
from qdrant_backup.storage.catalogue import CatalogueFile, Level
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.stored import StoredBackup, load
from support import archives
from support.damaged import copied, everything, republished
from support.original_backup import OriginalBackup, original_backup
from support.restoring import Lab
from support.servers import _Shared
from support.worlds import lab_at

__all__ = ["original_backup"]

FLIPS = 60


@pytest.fixture(scope="module")
def made(shared_servers: _Shared, tmp_path_factory: pytest.TempPathFactory) -> StoredBackup:
    """A good backup with a file of every kind."""
    server = shared_servers.get("embedded")
    lab = lab_at(server, tmp_path_factory.mktemp("good"))
    done = everything(lab)
    server.empty()
    return done


@pytest.fixture
def bench(shared_servers: _Shared, tmp_path: Path) -> Lab:
    """For its ports alone."""
    return lab_at(shared_servers.get("embedded"), tmp_path)


def test_a_good_one_passes_at_each_level_and_is_not_touched(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root)
    files = {path: path.stat().st_mtime_ns for path in there.path.rglob("*")}
    for level in (Level.FILES, Level.ARCHIVE, Level.CONTENT):
        verdict = verify(there, level, bench.ports)
        assert verdict.passed, verdict
        assert CatalogueFile(bench.root).read().entry(there).level is level
    assert {path: path.stat().st_mtime_ns for path in there.path.rglob("*")} == files


@pytest.mark.fault("P07")
def test_one_that_is_deleted_meanwhile_is_gone_and_not_damaged(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root)
    shutil.rmtree(there.path)
    with pytest.raises(BackupNotFound, match="is gone"):
        verify(there, Level.ARCHIVE, bench.ports)
    assert CatalogueFile(bench.root).read().entry(there).level is None


def _damage(path: Path, bench: Lab) -> str:
    """What is said about the backup in `path`: damage, or the error that loading it gives."""
    try:
        verdict = verify(load(path), Level.FILES, bench.ports)
    except QdrantBackupError as error:
        return str(error)
    return "; ".join(verdict.damage)


def test_one_flipped_bit_anywhere_is_found(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root).path
    dice = random.Random(20260203)
    files = sorted(path for path in there.rglob("*") if path.is_file())
    assert len(files) >= 9
    for number in range(FLIPS):
        path = files[number % len(files)]
        good = path.read_bytes()
        bad = bytearray(good)
        bit = dice.randrange(8 * len(good))
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        assert _damage(there, bench), (path.name, bit)
        path.write_bytes(good)
    assert _damage(there, bench) == ""


def test_one_byte_less_of_any_file_is_found(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root).path
    dice = random.Random(7)
    for path in sorted(path for path in there.rglob("*") if path.is_file()):
        good = path.read_bytes()
        for size in {0, len(good) - 1, dice.randrange(len(good))}:
            path.write_bytes(good[:size])
            assert _damage(there, bench), (path.name, size)
        path.unlink()
        assert _damage(there, bench), path.name
        path.write_bytes(good)


def test_a_link_in_a_files_place_is_not_followed(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root).path
    for path in sorted(path for path in there.rglob("*") if path.is_file()):
        elsewhere = bench.scratch.parent / "elsewhere"
        path.replace(elsewhere)
        path.symlink_to(elsewhere)
        assert "link" in _damage(there, bench), path.name
        path.unlink()
        elsewhere.replace(path)
    directory = there / "qdrant"
    directory.rename(bench.scratch.parent / "moved")
    directory.symlink_to(bench.scratch.parent / "moved")
    assert "link" in _damage(there, bench)


def test_files_that_swapped_places_are_found(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root).path
    one, other = sorted((there / "qdrant").iterdir())
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert one.name in _damage(there, bench)
    assert other.name in _damage(there, bench)


def test_a_file_that_does_not_belong_is_a_remark(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root)
    (there.path / "notes.txt").write_text("mine")
    verdict = verify(there, Level.ARCHIVE, bench.ports)
    assert verdict.passed
    assert "notes.txt" in verdict.remarks[0]


HOSTILE = {
    "a name that climbs": tar.file_member("0/../../etc/passwd", b"root"),
    "an absolute name": tar.file_member("/etc/passwd", b"root"),
    "the same twice": archives.archive([("version.info", b"0.4.2")] * 2, end=b""),
    "no tar at all": b"<html>Sign in</html>" * 100,
    "nothing": b"",
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("level", [Level.ARCHIVE, Level.CONTENT])
def test_a_snapshot_with_hostile_members_is_damage_though_its_checksums_fit(
    made: StoredBackup, bench: Lab, what: str, level: Level
) -> None:
    good = (made.path / "qdrant" / "docs.snapshot").read_bytes()
    bad = HOSTILE[what] + (good if HOSTILE[what][:1] not in (b"<", b"") else b"")
    there = republished(made, bench.root, {"docs": bad or b"\0" * 1024})
    verdict = verify(there, level, bench.ports)
    assert len(verdict.damage) == 1, verdict
    assert verdict.damage[0].startswith("docs: ")
    assert CatalogueFile(bench.root).read().entry(there).level is None


def test_content_that_is_another_collections_is_found_though_all_checksums_fit(made: StoredBackup, bench: Lab) -> None:
    other = (made.path / made.manifest.collections["Über"].snapshot).read_bytes()
    there = republished(made, bench.root, {"docs": other})
    assert verify(there, Level.ARCHIVE, bench.ports).passed
    verdict = verify(there, Level.CONTENT, bench.ports)
    assert "not those of the manifest" in verdict.damage[0]


def test_a_backup_by_the_original_scripts_passes(original_backup: OriginalBackup, bench: Lab) -> None:
    verdict = verify(load(original_backup.backup_dir), Level.CONTENT, bench.ports)
    assert verdict.passed, verdict


def test_a_wrong_count_in_an_original_backup_is_found(original_backup: OriginalBackup, bench: Lab) -> None:
    manifest = original_backup.backup_dir / "manifest.json"
    text = manifest.read_text()
    name, entry = next(iter(load(original_backup.backup_dir).manifest.collections.items()))
    manifest.write_text(text.replace(f'"records": {entry.records}', f'"records": {entry.records + 1}', 1))
    verdict = verify(load(original_backup.backup_dir), Level.CONTENT, bench.ports)
    assert name in verdict.damage[0]
    assert f"{entry.records + 1} records" in verdict.damage[0]


def test_a_failed_look_takes_the_level_away_and_a_good_one_gives_it_back(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root)
    verify(there, Level.CONTENT, bench.ports)
    path = there.path / "qdrant" / "docs.snapshot"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    verify(there, Level.ARCHIVE, bench.ports)
    assert CatalogueFile(bench.root).read().entry(there).level is None
    path.write_bytes(good)
    verify(there, Level.ARCHIVE, bench.ports)
    assert CatalogueFile(bench.root).read().entry(there).level is Level.ARCHIVE


def test_a_note_that_cannot_be_kept_changes_no_verdict(made: StoredBackup, bench: Lab) -> None:
    there = copied(made, bench.root)
    (bench.root / ".catalogue.json").write_text("{")
    assert verify(there, Level.ARCHIVE, bench.ports).passed
    assert "could not be noted" in bench.told.warnings
    (bench.root / ".catalogue.json").unlink()
    with DirectoryLock(bench.root, bench.clock, "backup"):
        assert verify(there, Level.ARCHIVE, bench.ports).passed
    assert len(bench.told.of(Warned)) == 2
    assert not (bench.root / ".catalogue.json").exists()


def test_a_backup_that_lies_elsewhere_is_verified_and_nothing_is_written_beside_it(
    made: StoredBackup, bench: Lab
) -> None:
    there = copied(made, bench.scratch.parent / "elsewhere")
    assert verify(there, Level.ARCHIVE, bench.ports).passed
    assert [path.name for path in there.path.parent.iterdir()] == [there.path.name]
    assert not bench.root.exists()
