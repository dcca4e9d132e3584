"""Putting config back: the difference is shown first, the old file is kept, and nothing outside is ever written."""

from __future__ import annotations

import errno
import os
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from qdrant_backup.errors import ConfigFailed
from qdrant_backup.installation.installation import ConfigFile, Installation
from qdrant_backup.installation.restoring import ConfigState, config_changes, restore_file

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 2, 3, 14, 30, 52, tzinfo=timezone.utc)


def file_of(name: str = ".env", original: str = ".env", data: bytes = b"PORT=2\n", mode: int = 0o600) -> ConfigFile:
    return ConfigFile(name, original, data, mode)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def test_changes_are_told_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=1\n")
    (tmp_path / "settings.json").write_bytes(b"{}")
    files = [file_of(), file_of("settings.json", "settings.json", b"{}"), file_of("docker/.env", "docker/.env")]
    changes = config_changes(Installation(tmp_path), files)
    assert [change.state for change in changes] == [ConfigState.DIFFERENT, ConfigState.SAME, ConfigState.ABSENT]
    assert [change.target for change in changes] == [
        tmp_path / name for name in (".env", "settings.json", "docker/.env")
    ]
    assert "-PORT=1" in changes[0].difference
    assert names(tmp_path) == {".env", "settings.json"}


def test_the_old_file_is_kept_under_a_dated_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=1\n")
    restored = restore_file(Installation(tmp_path), file_of(), NOW)
    assert restored.kept_as == tmp_path / ".env.2026-02-03_143052.bak"
    assert (tmp_path / ".env.2026-02-03_143052.bak").read_bytes() == b"PORT=1\n"
    assert (tmp_path / ".env").read_bytes() == b"PORT=2\n"


def test_an_older_bak_is_never_overwritten(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    for number in range(4):
        restore_file(installation, file_of(data=b"%d" % number), NOW)
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("*.bak")}
    assert kept == {
        ".env.2026-02-03_143052.bak": b"0",
        ".env.2026-02-03_143052-2.bak": b"1",
        ".env.2026-02-03_143052-3.bak": b"2",
    }


def test_the_same_content_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=2\n")
    before = (tmp_path / ".env").stat()
    restored = restore_file(Installation(tmp_path), file_of(), NOW)
    assert (restored.changed, restored.kept_as) == (False, None)
    assert names(tmp_path) == {".env"}
    assert (tmp_path / ".env").stat().st_ino == before.st_ino


def test_an_absent_file_comes_back_with_its_folder(tmp_path: Path) -> None:
    restored = restore_file(Installation(tmp_path / "install"), file_of(original="docker/.env"), NOW)
    assert restored.target == tmp_path / "install/docker/.env"
    assert restored.kept_as is None
    assert mode_of(restored.target) == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_those_of_the_file_replaced_or_safe_ones(tmp_path: Path, umask: int) -> None:
    installation = Installation(tmp_path)
    (tmp_path / "settings.json").write_bytes(b"old")
    (tmp_path / "settings.json").chmod(0o664)
    before = os.umask(umask)
    try:
        restore_file(installation, file_of("settings.json", "settings.json", mode=0o600), NOW)
        restore_file(installation, file_of(".claude/settings.json", ".claude/settings.json", mode=0o6777), NOW)
        restore_file(installation, file_of(mode=0o666), NOW)
    finally:
        os.umask(before)
    modes = {name: mode_of(tmp_path / name) for name in ("settings.json", ".claude/settings.json", ".env")}
    assert modes == {"settings.json": 0o664, ".claude/settings.json": 0o644, ".env": 0o600}
    [kept] = tmp_path.glob("*.bak")
    assert mode_of(kept) == 0o664


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("../.env", "../.env"),
        (".env", "/etc/passwd"),
        (".env", "settings.json"),
        ("settings.json", "docker/.env"),
        ("passwd", ""),
        ("/etc/x", ""),
        (".bashrc", ".bashrc"),
    ],
)
def test_only_the_places_of_config_files_are_written(tmp_path: Path, name: str, original: str) -> None:
    root = tmp_path / "install"
    root.mkdir()
    file = file_of(name, original)
    [change] = config_changes(Installation(root), [file])
    assert change.state is ConfigState.REFUSED
    with pytest.raises(ConfigFailed, match="not restored"):
        restore_file(Installation(root), file, NOW)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("there", "name", "place"),
    [
        (".env", ".env", ".env"),
        ("docker/.env", ".env", "docker/.env"),
        (None, ".env", ".env"),
        (".claude/settings.json", "settings.json", ".claude/settings.json"),
        (".env", "docker/.env", "docker/.env"),
    ],
)
def test_a_file_of_unknown_origin_goes_where_such_a_file_lies(
    tmp_path: Path, there: str | None, name: str, place: str
) -> None:
    if there:
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).write_bytes(b"old")
    assert restore_file(Installation(tmp_path), file_of(name, ""), NOW).target == tmp_path / place


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "install"
    root.mkdir()
    (tmp_path / "victim").write_bytes(b"precious")
    (root / ".env").symlink_to(tmp_path / "victim")
    [change] = config_changes(Installation(root), [file_of()])
    assert change.state is ConfigState.REFUSED
    assert change.error is not None
    assert "symbolic link" in change.error.why
    with pytest.raises(ConfigFailed, match="symbolic link"):
        restore_file(Installation(root), file_of(), NOW)
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert (root / ".env").is_symlink()


def test_a_link_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "install"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "docker").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigFailed, match="symbolic link"):
        restore_file(Installation(root), file_of(original="docker/.env"), NOW)
    assert names(tmp_path / "outside") == set()


def test_a_link_planted_where_the_old_file_would_be_kept_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / ".env").write_bytes(b"old")
    (tmp_path / ".env.2026-02-03_143052.bak").symlink_to("victim")
    restored = restore_file(Installation(tmp_path), file_of(), NOW)
    assert restored.kept_as == tmp_path / ".env.2026-02-03_143052-2.bak"
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
def test_a_restore_that_fails_leaves_the_installed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / ".env").write_bytes(b"old")

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(ConfigFailed, match="No space left"):
        restore_file(Installation(tmp_path), file_of(), NOW)
    monkeypatch.undo()
    assert (tmp_path / ".env").read_bytes() == b"old"
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.glob(".*.tmp"))


def test_what_was_read_can_be_restored_after_it_changed(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    (tmp_path / "docker").mkdir()
    (tmp_path / ".env").write_bytes(b"A=1")
    (tmp_path / "docker/.env").write_bytes(b"B=1")
    saved = installation.config().found
    (tmp_path / ".env").write_bytes(b"A=2")
    (tmp_path / "docker/.env").unlink()
    for file in saved:
        restore_file(installation, file, NOW + timedelta(days=1))
    assert ((tmp_path / ".env").read_bytes(), (tmp_path / "docker/.env").read_bytes()) == (b"A=1", b"B=1")
