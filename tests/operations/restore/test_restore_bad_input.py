"""Backups that must not be restored, and servers that cannot take them: refused before anything is touched."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.errors import (
    AccessDenied,
    BackupInvalid,
    BackupNotFound,
    CollectionMissing,
    ConfigFailed,
    Incompatible,
    InsufficientSpace,
    IntegrityFailed,
    QdrantBackupError,
    RefusedForSafety,
    UsageError,
)
from qdrant_backup.operations.backup import BackupRequest, backup
from qdrant_backup.operations.events import Event, ManifestChecked
from qdrant_backup.operations.restore.requests import RestoreRequest
from qdrant_backup.operations.restore.run import restore
from qdrant_backup.storage.stored import StoredBackup
from support.original_backup import unpack_original_backup
from support.restoring import Lab, points_of
from support.servers import READ_ONLY_API_KEY


@pytest.fixture
def docs(embedded: Lab) -> tuple[Lab, StoredBackup]:
    embedded.make("docs", points_of(6))
    made = embedded.back_up()
    embedded.put("docs", points_of(2, seed=2))
    return embedded, made


def snapshot(made: StoredBackup) -> Path:
    return made.path / "qdrant/docs.snapshot"


def require_refused(lab: Lab, kind: type[QdrantBackupError], code: int, **options: Any) -> QdrantBackupError:
    before = lab.state()
    with pytest.raises(kind) as caught:
        lab.restore(**options)
    assert type(caught.value).codes.restore == code
    assert caught.value.what
    assert caught.value.why
    assert caught.value.advice
    assert lab.state() == before
    assert lab.server.calls("upload_snapshot") == []
    assert lab.safety_copies() == []
    assert lab.journal() is None
    return caught.value


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-512])


def cut_at_a_member(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1536])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def link(path: Path) -> None:
    moved = path.with_name("elsewhere")
    path.rename(moved)
    path.symlink_to(moved)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b""), cut, cut_at_a_member, flip, link])
def test_a_damaged_snapshot_is_code_5(docs: tuple[Lab, StoredBackup], damage: Callable[[Path], object]) -> None:
    lab, made = docs
    damage(snapshot(made))
    error = require_refused(lab, IntegrityFailed, 5, reference=made)
    assert "docs.snapshot" in str(error)


def test_damage_in_a_collection_that_is_not_restored_is_no_reason(embedded: Lab) -> None:
    embedded.make("docs", points_of(6))
    embedded.make("other", points_of(6))
    made = embedded.back_up()
    flip(made.path / "qdrant/other.snapshot")
    embedded.restore(made, collections=("docs",))
    require_refused_twice = embedded.state()
    with pytest.raises(IntegrityFailed):
        embedded.restore(made)
    assert embedded.state() == require_refused_twice


def resign(made: StoredBackup, data: bytes) -> None:
    """Give the backup another snapshot, with checksums that fit: only the archive itself can tell."""
    digest = hashlib.sha256(data).hexdigest()
    snapshot(made).write_bytes(data)
    manifest = json.loads((made.path / "manifest.json").read_text())
    manifest["collections"]["docs"] |= {"sha256": digest, "size_bytes": len(data)}
    for file in manifest["files"]:
        if file["path"].endswith("docs.snapshot"):
            file |= {"sha256": digest, "size_bytes": len(data)}
    rewrite(made, manifest)


def rewrite(made: StoredBackup, manifest: dict[str, Any]) -> None:
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    lines = [f"{file['sha256']}  {file['path']}" for file in manifest["files"]]
    own = hashlib.sha256((made.path / "manifest.json").read_bytes()).hexdigest()
    (made.path / "SHA256SUMS").write_text("\n".join([*lines, f"{own}  manifest.json"]) + "\n")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, "climb", "absolute"]
)
def test_hostile_members_are_code_5_whatever_the_checksums_say(docs: tuple[Lab, StoredBackup], kind: Any) -> None:
    lab, made = docs
    buffer = io.BytesIO(snapshot(made).read_bytes())
    with tarfile.open(fileobj=buffer, mode="r:") as archive:
        last = archive.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    member = tarfile.TarInfo({"climb": "../evil", "absolute": "/evil"}.get(kind, "0/evil"))
    if kind not in {"climb", "absolute"}:
        member.type = kind
        member.linkname = "config.json"
    header = member.tobuf(tarfile.GNU_FORMAT)
    data = buffer.getvalue()
    resign(made, data[:end] + header + bytes(1024))
    require_refused(lab, IntegrityFailed, 5, reference=made)


def edited(made: StoredBackup, **changes: Any) -> None:
    manifest = json.loads((made.path / "manifest.json").read_text())
    rewrite(made, manifest | changes)


def test_a_manifest_that_is_missing_empty_or_no_json_is_code_2(docs: tuple[Lab, StoredBackup]) -> None:
    lab, made = docs
    manifest = made.path / "manifest.json"
    for content in ("", "{", "[]"):
        manifest.write_text(content)
        require_refused(lab, BackupInvalid, 2, reference=made)
    manifest.unlink()
    require_refused(lab, BackupInvalid, 2, reference=made)


def test_a_newer_format_is_code_7_before_any_checksum(docs: tuple[Lab, StoredBackup]) -> None:
    lab, made = docs
    flip(snapshot(made))
    edited(made, format=99)
    require_refused(lab, Incompatible, 7, reference=made)


def test_a_path_that_climbs_is_code_5(docs: tuple[Lab, StoredBackup]) -> None:
    lab, made = docs
    manifest = json.loads((made.path / "manifest.json").read_text())
    manifest["collections"]["docs"]["snapshot_file"] = "../../../etc/passwd"
    rewrite(made, manifest)
    require_refused(lab, IntegrityFailed, 5, reference=made)


def test_a_backup_that_is_not_there_is_code_1(docs: tuple[Lab, StoredBackup]) -> None:
    lab, _ = docs
    require_refused(lab, BackupNotFound, 1, reference="2001-01-01_000000")


def test_a_collection_that_the_backup_does_not_hold_is_code_2(docs: tuple[Lab, StoredBackup]) -> None:
    lab, made = docs
    require_refused(lab, CollectionMissing, 2, reference=made, collections=("Docs",))
    require_refused(lab, CollectionMissing, 2, reference=made, rename={"nope": "x"})
    require_refused(lab, UsageError, 64, reference=made, rename={"docs": "a/b"})


@pytest.mark.parametrize(
    ("version", "fits"), [("1.18.0", True), ("1.17.9", True), ("1.16.4", False), ("1.19.0", False), ("2.18.0", False)]
)
@pytest.mark.fault("Q11")
def test_versions_that_do_not_fit_are_code_7_unless_allowed(
    docs: tuple[Lab, StoredBackup], version: str, fits: bool
) -> None:
    lab, made = docs
    here = lab.server.identity().version
    assert here.startswith("1.18"), "the versions above are chosen for a 1.18 server"
    manifest = json.loads((made.path / "manifest.json").read_text())
    edited(made, server=manifest["server"] | {"version": version})
    if not fits:
        error = require_refused(lab, Incompatible, 7, reference=made)
        assert "--allow-version" in error.advice
    report = lab.restore(made, allow_version=not fits)
    assert any("--allow-version" in warning for warning in report.warnings) is not fits
    assert len(lab.content("docs")) == 6


@pytest.mark.fault("Q01")
def test_a_key_without_the_right_is_code_9(docs: tuple[Lab, StoredBackup]) -> None:
    lab, made = docs
    reader = Lab(lab.running, lab.root, lab.scratch / "reader", api_key=READ_ONLY_API_KEY)
    with pytest.raises(AccessDenied):
        reader.restore(made)
    assert reader.server.calls("upload_snapshot") == []


def test_no_room_for_the_safety_copy_is_code_8(docs: tuple[Lab, StoredBackup], monkeypatch: pytest.MonkeyPatch) -> None:
    lab, made = docs
    monkeypatch.setattr("qdrant_backup.operations.restore.survey.free_bytes", lambda _: 10)
    error = require_refused(lab, InsufficientSpace, 8, reference=made)
    assert "--no-safety" in error.advice


def test_a_plan_that_is_declined_changes_nothing(docs: tuple[Lab, StoredBackup]) -> None:
    from qdrant_backup.operations.restore.requests import RestoreRequest
    from qdrant_backup.operations.restore.run import restore

    lab, made = docs
    before = lab.state()
    with pytest.raises(RefusedForSafety):
        restore(RestoreRequest(str(made.path)), lab.ports, lambda _: False)
    assert lab.state() == before


# Backups by the original scripts --------------------------------------------------------------------------------------


def test_a_backup_by_the_original_scripts_restores_and_is_judged_by_its_points(lab: Lab, tmp_path: Path) -> None:
    original = unpack_original_backup(tmp_path / "original")
    report = lab.restore(str(original.backup_dir))
    assert {target.target for target in report.targets} == set(original.expected_points)
    for name, expected in original.expected_points.items():
        assert lab.content(name).keys() == expected.keys()
    assert all(not target.unverified for target in report.targets)
    assert any("version" in warning for warning in report.warnings)


def test_a_damaged_backup_by_the_original_scripts_is_noticed_without_checksums(embedded: Lab, tmp_path: Path) -> None:
    original = unpack_original_backup(tmp_path / "original")
    cut(original.snapshot(next(iter(original.expected_points))))
    with pytest.raises(IntegrityFailed):
        embedded.restore(str(original.backup_dir))
    assert embedded.server.calls("upload_snapshot") == []


# Config files ---------------------------------------------------------------------------------------------------------


def with_config(lab: Lab) -> StoredBackup:
    lab.install.mkdir(parents=True)
    (lab.install / ".env").write_text("QDRANT_API_KEY=old\n")
    (lab.install / "settings.json").write_text("{}")
    lab.make("docs", points_of(3))
    return backup(BackupRequest(), lab.ports).backup


def test_config_files_come_back_and_the_old_ones_are_kept(embedded: Lab) -> None:
    made = with_config(embedded)
    (embedded.install / ".env").write_text("QDRANT_API_KEY=new\n")
    report = embedded.restore(made, restore_config=True)
    assert (embedded.install / ".env").read_text() == "QDRANT_API_KEY=old\n"
    assert ".env" in report.config_files
    assert report.config_failure is None
    assert [path.read_text() for path in embedded.install.glob(".env.*.bak")] == ["QDRANT_API_KEY=new\n"]


def test_a_config_file_that_fails_leaves_the_collections_restored(embedded: Lab) -> None:
    made = with_config(embedded)
    (embedded.install / ".env").unlink()
    (embedded.install / ".env").symlink_to("/etc/hostname")
    embedded.put("docs", points_of(2, seed=4, first=10))
    report = embedded.restore(made, restore_config=True)
    assert isinstance(report.config_failure, ConfigFailed)
    assert type(report.config_failure).codes.restore == 4
    assert "collections are restored" in report.config_failure.what
    assert len(embedded.content("docs")) == 3
    assert (embedded.install / ".env").is_symlink()


@pytest.mark.fault("P07")
def test_a_backup_that_was_deleted_while_it_was_read_is_gone_and_not_damaged(docs: tuple[Lab, StoredBackup]) -> None:
    lab, made = docs

    def tell(event: Event) -> None:
        if isinstance(event, ManifestChecked):
            made.path.rename(made.path.with_name(f".{made.backup_id}.deleting"))

    ports = dataclasses.replace(lab.ports, tell=tell)
    with pytest.raises(BackupNotFound, match="is gone") as caught:
        restore(RestoreRequest(str(made.path)), ports, lambda _: True)
    assert caught.value.codes.restore == 1


@pytest.mark.fault("P07")
def test_a_backup_that_was_deleted_while_the_plan_was_looked_at(docs: tuple[Lab, StoredBackup]) -> None:
    lab, made = docs
    before = lab.state()

    def confirm(_: object) -> bool:
        made.path.rename(made.path.with_name(f".{made.backup_id}.deleting"))
        return True

    with pytest.raises(BackupNotFound, match="is gone") as caught:
        restore(RestoreRequest(str(made.path)), lab.ports, confirm)
    assert caught.value.codes.restore == 1
    assert lab.state() == before
    assert lab.safety_copies() == []
