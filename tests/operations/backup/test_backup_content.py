"""A backup holds exactly what the server held, in the guide's layout, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from qdrant_backup.errors import CollectionMissing
from qdrant_backup.operations.backup import BackupRequest, backup
from qdrant_backup.storage.catalogue import CatalogueFile, Level
from support.command import CommandLine
from support.restoring import Lab, path_of, points_of
from support.worlds import ODD_NAMES, content_by_client, rich_world, small_world


def test_everything_of_a_rich_world_is_in_it(lab: Lab) -> None:
    rich_world(lab)
    before = lab.state()
    made = lab.back_up()
    manifest = made.manifest
    assert lab.state() == before
    assert lab.left_on_server() == []
    assert list(manifest.collections)[:2] == ["discussions", "conventions"]
    assert list(manifest.collections)[2:] == sorted([*ODD_NAMES, "empty"])
    assert manifest.aliases == {"talk": "discussions", "Räte": "conventions"}
    for name, entry in manifest.collections.items():
        assert (entry.records, entry.content) == content_by_client(lab.running, name, entry.vector_names), name
        assert entry.points == entry.records
        info = lab.call("GET", path_of(name))
        assert (entry.config, entry.payload_schema) == (info["config"], info["payload_schema"])
        data = (made.path / entry.snapshot).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size_bytes, entry.sha256)
        assert entry.method == "snapshot"
    assert manifest.collections["empty"].records == 0
    assert len(manifest.collections["conventions"].shards) == 2
    assert manifest.collections["discussions"].vector_names == ["late", "text", "words"]
    assert manifest.warnings == []
    assert manifest.skipped == []


def test_the_level_after_a_backup_is_content(lab: Lab) -> None:
    small_world(lab)
    made = lab.back_up()
    assert CatalogueFile(lab.root).read().entry(made).level is Level.CONTENT


def test_sha256sum_accepts_it_and_only_its_owner_may_look_whatever_the_umask(line: CommandLine, lab: Lab) -> None:
    rich_world(lab)
    line.install.mkdir()
    (line.install / ".env").write_text("SOME=thing\n")
    (line.install / ".env").chmod(0o644)
    line.run("backup", preexec_fn=lambda: os.umask(0)).ok()
    (path,) = line.published()
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    named = {text.split("  ", 1)[1] for text in (path / "SHA256SUMS").read_text().splitlines()}
    files = {found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file()}
    assert files == named | {"SHA256SUMS"}
    modes = {stat.S_IMODE(found.lstat().st_mode) for found in line.backups.rglob("*") if found.is_dir()}
    assert modes == {0o700}
    modes = {stat.S_IMODE(found.lstat().st_mode) for found in line.backups.rglob("*") if found.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE(line.backups.stat().st_mode) == 0o700
    assert line.wrecks() == []
    assert lab.left_on_server() == []


def test_file_names_tell_names_apart_that_differ_in_case_alone(lab: Lab) -> None:
    for number, name in enumerate(ODD_NAMES):
        lab.make(name, points_of(3, seed=number))
    made = lab.back_up()
    files = [path.name for path in (made.path / "qdrant").iterdir()]
    assert len({name.casefold() for name in files}) == len(ODD_NAMES)
    assert "docs.snapshot" in files


def test_what_is_chosen_by_globs_is_in_it_with_its_aliases_alone(lab: Lab) -> None:
    small_world(lab)
    lab.alias("a", "discussions")
    lab.alias("b", "conventions")
    made = backup(BackupRequest(include=("c*", "disc?ssions"), exclude=("code-*",)), lab.ports).backup
    assert list(made.manifest.collections) == ["discussions", "conventions"]
    made = backup(BackupRequest(exclude=("conventions",)), lab.ports).backup
    assert list(made.manifest.collections) == ["discussions", "code-patterns"]
    assert made.manifest.aliases == {"a": "discussions"}


def test_a_name_that_is_also_a_glob_means_itself(embedded: Lab) -> None:
    embedded.make("a[1]", points_of(2))
    embedded.make("a1", points_of(3))
    assert list(embedded.back_up("a[1]").manifest.collections) == ["a[1]"]


def test_a_named_collection_that_is_missing_is_an_error_and_nothing_changes(embedded: Lab) -> None:
    small_world(embedded)
    with pytest.raises(CollectionMissing, match="nowhere"):
        embedded.back_up("discussions", "nowhere")
    assert not embedded.root.exists()
    with pytest.raises(CollectionMissing, match="left"):
        backup(BackupRequest(exclude=("*",)), embedded.ports)
    assert embedded.left_on_server() == []


def test_an_alias_is_not_a_collection(embedded: Lab) -> None:
    small_world(embedded)
    embedded.alias("talk", "discussions")
    with pytest.raises(CollectionMissing, match="talk"):
        embedded.back_up("talk")


def test_a_server_without_collections_gives_a_backup_that_says_so(embedded: Lab) -> None:
    made = embedded.back_up()
    assert made.manifest.collections == {}
    assert "no collections" in made.manifest.warnings[0]


def _install(directory: Path) -> None:
    for name, text in {
        "settings.json": "{}",
        ".claude/settings.json": '{"a": 1}',
        "docker/.env": "KEY=1\n",
        "version.txt": "2.0.2\n",
        "logs/app/today.log": "hello\n",
        "logs/old.log": "bye\n",
    }.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_config_comes_from_both_places_and_the_version_from_its_file(embedded: Lab) -> None:
    _install(embedded.install)
    embedded.make("docs", points_of(3))
    made = backup(BackupRequest(include_logs=True), embedded.ports).backup
    manifest = made.manifest
    assert manifest.ai_memory_version == "2.0.2"
    assert manifest.config_files == ["settings.json", ".claude/settings.json", ".env"]
    assert {entry.path: entry.original for entry in manifest.config}[".env"] == "docker/.env"
    assert (made.path / "config" / ".claude" / "settings.json").read_text() == '{"a": 1}'
    assert (made.path / "config" / ".env").read_text() == "KEY=1\n"
    assert (made.path / "logs" / "app" / "today.log").read_text() == "hello\n"
    assert manifest.includes_logs
    (embedded.install / ".env").write_text("FIRST=1\n")
    (embedded.install / "version.txt").unlink()
    manifest = backup(BackupRequest(), embedded.ports).backup.manifest
    assert manifest.config_files == ["settings.json", ".claude/settings.json", ".env", "docker/.env"]
    assert manifest.ai_memory_version == "unknown"
    assert not manifest.includes_logs


def test_a_config_file_that_cannot_be_read_leaves_a_backup_and_exit_4(
    embedded_line: CommandLine, embedded: Lab
) -> None:
    embedded.make("docs", points_of(3))
    _install(embedded_line.install)
    (embedded_line.install / "settings.json").unlink()
    (embedded_line.install / "settings.json").mkdir()
    ran = embedded_line.run("backup").failed(4, "settings.json")
    assert "✓ Backup complete" in ran.out
    (path,) = embedded_line.published()
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["collections"]["docs"]["records"] == 3
    assert any("settings.json" in skip["what"] for skip in manifest["skipped"])
    embedded_line.run("verify", "--content").ok()


def test_an_installation_that_is_not_there_is_no_failure(embedded_line: CommandLine, embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    embedded_line.run("backup").ok()
    (path,) = embedded_line.published()
    assert json.loads((path / "manifest.json").read_text())["config_files"] == []


def test_two_backups_in_one_second_get_two_names(embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    made = [embedded.back_up() for _ in range(3)]
    assert len({each.path for each in made}) == 3
