"""Checking a backup on disk: each kind of damage is found, named, and turned into the right error."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdrant_backup.errors import IntegrityFailed
from qdrant_backup.storage.stored import FindingKind, load
from qdrant_backup.storage.verify import check_files, check_quick
from support.stored import SNAPSHOT, published

if TYPE_CHECKING:
    from pathlib import Path

SNAPSHOT_PATH = "qdrant/docs.snapshot"


def test_a_good_backup_has_no_findings(tmp_path: Path) -> None:
    stored = published(tmp_path)
    assert check_quick(stored) == check_files(stored) == []


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, 10)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("real"))
    path.parent.symlink_to("real")


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (delete, FindingKind.MISSING),
        (cut, FindingKind.SIZE),
        (empty, FindingKind.SIZE),
        (grow, FindingKind.SIZE),
        (link, FindingKind.SYMLINK),
        (directory, FindingKind.NOT_A_FILE),
        (link_folder, FindingKind.SYMLINK),
    ],
)
def test_harm_that_a_look_can_see_is_found_by_both(tmp_path: Path, harm: Any, kind: FindingKind) -> None:
    stored = published(tmp_path)
    harm(stored.path / SNAPSHOT_PATH)
    for findings in (check_quick(stored), check_files(stored)):
        assert [(each.path, each.kind) for each in findings if each.is_damage] == [(SNAPSHOT_PATH, kind)]


@given(at=st.integers(0, len(SNAPSHOT) - 1), bit=st.integers(0, 7))
@settings(max_examples=25, deadline=None)
def test_one_flipped_bit_is_found_wherever_it_is(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    stored = published(tmp_path_factory.mktemp("backups"))
    data = bytearray(SNAPSHOT)
    data[at] ^= 1 << bit
    (stored.path / SNAPSHOT_PATH).write_bytes(data)
    assert check_quick(stored) == []
    assert [(each.path, each.kind) for each in check_files(stored)] == [(SNAPSHOT_PATH, FindingKind.SHA256)]


def test_a_changed_manifest_is_found_by_the_checksum_file(tmp_path: Path) -> None:
    stored = published(tmp_path)
    raw = json.loads((stored.path / "manifest.json").read_bytes())
    raw["collections"]["docs"]["records"] = 2
    (stored.path / "manifest.json").write_text(json.dumps(raw))
    assert [(each.path, each.kind) for each in check_files(load(stored.path))] == [
        ("manifest.json", FindingKind.SHA256)
    ]


def test_a_file_that_left_the_manifest_does_not_leave_unnoticed(tmp_path: Path) -> None:
    stored = published(tmp_path)
    (stored.path / "SHA256SUMS").unlink()
    assert [(each.path, each.kind) for each in check_files(stored)] == [("SHA256SUMS", FindingKind.MISSING)]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0  manifest.json\n"])
def test_a_damaged_checksum_file_is_found(tmp_path: Path, content: bytes) -> None:
    stored = published(tmp_path)
    (stored.path / "SHA256SUMS").write_bytes(content)
    assert any(each.is_damage for each in check_files(stored))


def test_a_checksum_file_that_differs_from_the_manifest_is_found(tmp_path: Path) -> None:
    stored = published(tmp_path)
    sums = stored.path / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if "snapshot" not in line))
    [finding] = check_files(stored)
    assert (finding.path, finding.kind) == ("SHA256SUMS", FindingKind.SHA256)
    assert SNAPSHOT_PATH in finding.detail


def test_files_that_do_not_belong_are_named_and_harm_nothing(tmp_path: Path) -> None:
    stored = published(tmp_path)
    (stored.path / "NOTES").write_bytes(b"mine")
    (stored.path / "qdrant" / "more").mkdir()
    (stored.path / "qdrant" / "more" / "x").write_bytes(b"")
    (stored.path / "link").symlink_to("/")
    findings = check_files(stored)
    assert {each.path for each in findings} == {"NOTES", "qdrant/more/x", "link"}
    assert {each.kind for each in findings} == {FindingKind.EXTRA}
    assert not any(each.is_damage for each in findings)


def test_a_finding_says_what_is_wrong(tmp_path: Path) -> None:
    stored = published(tmp_path)
    (stored.path / SNAPSHOT_PATH).write_bytes(b"short")
    [finding] = check_quick(stored)
    assert f"{SNAPSHOT_PATH}: it has 5 bytes where {len(SNAPSHOT)} were written" in str(finding)


def test_a_name_that_climbs_is_never_opened(tmp_path: Path) -> None:
    stored = published(tmp_path / "b")
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(IntegrityFailed):
        stored.open("../../secret")
    with pytest.raises(IntegrityFailed):
        list(stored.blocks("/etc/hostname"))


class Counted:
    """Progress that adds up."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self.ended = False

    def begin(self, task: str, total_bytes: int | None) -> None:
        self.total = total_bytes

    def advance(self, size_bytes: int) -> None:
        self.done += size_bytes

    def note(self, text: str) -> None:
        raise AssertionError(text)

    def end(self) -> None:
        self.ended = True


def test_progress_ends_at_the_total_it_began_with(tmp_path: Path) -> None:
    progress = Counted()
    stored = published(tmp_path)
    check_files(stored, progress)
    assert progress.done == progress.total == stored.size_bytes
    assert progress.ended
