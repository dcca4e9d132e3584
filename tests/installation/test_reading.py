"""What is read of an installation: its config from both places, its version, its logs; no link is followed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qdrant_backup.errors import ConfigFailed, OperationFailed
from qdrant_backup.installation.installation import Installation, env_file_values

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root: Path) -> dict[str, tuple[str, bytes]]:
    return {file.name: (file.original, file.data) for file in Installation(root).config().found}


def test_nothing_is_found_where_there_is_no_installation(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "none")
    assert installation.config().found == installation.config().failed == ()
    assert installation.logs().found == installation.logs().skipped == ()
    assert installation.version() == "unknown"
    assert installation.env_files() == []


@pytest.mark.parametrize(
    ("places", "names"),
    [
        ([".env"], {".env": ".env"}),
        (["docker/.env"], {".env": "docker/.env"}),
        ([".env", "docker/.env"], {".env": ".env", "docker/.env": "docker/.env"}),
        (["settings.json"], {"settings.json": "settings.json"}),
        ([".claude/settings.json"], {"settings.json": ".claude/settings.json"}),
        (
            ["settings.json", ".claude/settings.json"],
            {"settings.json": "settings.json", ".claude/settings.json": ".claude/settings.json"},
        ),
    ],
)
def test_the_first_place_gets_the_guides_name_and_a_second_keeps_its_own(
    tmp_path: Path, places: list[str], names: dict[str, str]
) -> None:
    write(tmp_path, **{place: f"in {place}" for place in places})
    assert found(tmp_path) == {name: (place, f"in {place}".encode()) for name, place in names.items()}


def test_a_file_keeps_its_mode_and_its_path_in_the_backup(tmp_path: Path) -> None:
    write(tmp_path, **{"docker/.env": "A=1"})
    (tmp_path / "docker/.env").chmod(0o640)
    [file] = Installation(tmp_path).config().found
    assert (file.mode, file.path) == (0o640, "config/.env")


def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, **{"docker/.env": "A=1", "settings.json": "{}"})
    (tmp_path / ".env").mkdir()
    config = Installation(tmp_path).config()
    assert [file.name for file in config.found] == ["settings.json", "docker/.env"]
    [(name, error)] = config.failed
    assert name == ".env"
    assert "not a regular file" in str(error)


def test_a_link_is_reported_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root:x:0:0")
    root = tmp_path / "install"
    root.mkdir()
    (root / ".env").symlink_to(tmp_path / "secret")
    (root / ".claude").symlink_to(tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    config = Installation(root).config()
    assert config.found == ()
    assert [name for name, _ in config.failed] == ["settings.json", ".env"]
    assert all("symbolic link" in error.why for _, error in config.failed)


def test_a_link_from_one_place_to_the_other_is_one_file(tmp_path: Path) -> None:
    write(tmp_path, **{"docker/.env": "A=1"})
    (tmp_path / ".env").symlink_to("docker/.env")
    config = Installation(tmp_path).config()
    assert config.failed == ()
    assert [(file.name, file.original) for file in config.found] == [(".env", "docker/.env")]


def test_a_loop_of_links_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(".env")
    assert [name for name, _ in Installation(tmp_path).config().failed] == [".env"]


def test_a_file_in_place_of_a_folder_is_reported_or_passed_over_but_never_raised(tmp_path: Path) -> None:
    write(tmp_path, docker="a file", **{".env": "A=1"})
    config = Installation(tmp_path).config()
    assert [file.name for file in config.found] == [".env"]


def test_the_installation_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", **{".env": "A=1"})
    (tmp_path / "link").symlink_to("real")
    assert list(found(tmp_path / "link")) == [".env"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.0.2\n", "2.0.2"),
        ("\ufeff v3 \nmore", "v3"),
        ("", "unknown"),
        ("\n2.0\n", "2.0"),
        ("\x1b[31m", "unknown"),
        ("x" * 101, "unknown"),
    ],
)
def test_the_version_is_the_first_line_or_unknown(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "version.txt").write_text(text, encoding="utf-8")
    assert Installation(tmp_path).version() == version


def test_a_version_file_that_is_a_link_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "version.txt").symlink_to("secret")
    assert Installation(tmp_path).version() == "unknown"


def test_logs_are_the_regular_files_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path, **{"logs/app.log": "one", "logs/a/b/c.log": "three", "other/x.log": "no"})
    logs = Installation(tmp_path).logs()
    assert [(log.path, b"".join(log.blocks())) for log in logs.found] == [
        ("logs/app.log", b"one"),
        ("logs/a/b/c.log", b"three"),
    ]
    assert logs.size_bytes == 8
    assert logs.skipped == ()


def test_links_pipes_and_unstorable_names_among_the_logs_are_named_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path, **{"logs/app.log": "one", "outside/secret": "secret"})
    (tmp_path / "logs/link.log").symlink_to(tmp_path / "outside/secret")
    (tmp_path / "logs/folder").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "logs/pipe")
    (tmp_path / "logs/a\\b.log").write_text("x")
    (tmp_path / "logs/new\nline.log").write_text("x")
    logs = Installation(tmp_path).logs()
    assert [log.path for log in logs.found] == ["logs/app.log"]
    assert len(logs.skipped) == 5
    assert all("\n" not in skipped.what for skipped in logs.skipped)


def test_a_logs_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    write(tmp_path / "outside", secret="secret")
    (tmp_path / "logs").symlink_to("outside")
    logs = Installation(tmp_path).logs()
    assert logs.found == ()
    assert [skipped.what for skipped in logs.skipped] == [str(tmp_path / "logs")]


def test_a_log_that_vanishes_says_so(tmp_path: Path) -> None:
    write(tmp_path, **{"logs/app.log": "one"})
    [log] = Installation(tmp_path).logs().found
    log.original.unlink()
    with pytest.raises(OperationFailed, match="rotate"):
        list(log.blocks())


def test_a_log_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, **{"logs/app.log": "one", "secret": "secret"})
    [log] = Installation(tmp_path).logs().found
    log.original.unlink()
    log.original.symlink_to("../secret")
    with pytest.raises(OperationFailed):
        list(log.blocks())


def test_a_log_that_grows_ends_where_it_was_and_one_that_was_cut_is_short(tmp_path: Path) -> None:
    write(tmp_path, **{"logs/grows.log": "one", "logs/cut.log": "three"})
    cut, grows = sorted(Installation(tmp_path).logs().found, key=lambda log: log.path)
    grows.original.write_text("one and more")
    cut.original.write_text("")
    assert (b"".join(grows.blocks()), b"".join(cut.blocks())) == (b"one", b"")


def test_the_env_files_come_in_the_order_in_which_they_count(tmp_path: Path) -> None:
    write(tmp_path, **{".env": "A=1", "docker/.env": "A=2\nB=3"})
    assert Installation(tmp_path).env_files() == [
        (tmp_path / ".env", {"A": "1"}),
        (tmp_path / "docker/.env", {"A": "2", "B": "3"}),
    ]


def test_an_env_file_that_is_not_there_has_no_values_and_one_that_is_no_text_is_named(tmp_path: Path) -> None:
    assert env_file_values(tmp_path / ".env") == {}
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    with pytest.raises(ConfigFailed, match=r"\.env"):
        env_file_values(tmp_path / ".env")
    with pytest.raises(ConfigFailed):
        env_file_values(tmp_path)
