"""What the commands around a backup say: list, show, verify, status, check, config, version, completion."""

from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from qdrant_backup import __version__
from qdrant_backup.cli.main import COMMANDS
from qdrant_backup.layout import JOURNAL
from support.command import PROGRAM, CommandLine, tree_of, until
from support.contracts import faults, matches, schemas
from support.original_backup import OriginalBackup, original_backup
from support.restoring import Lab, points_of
from support.servers import API_KEY
from support.stored import FIRST, published
from support.worlds import rich_world, small_world

__all__ = ["original_backup"]


def test_a_day_with_its_commands_and_their_json(line: CommandLine, lab: Lab) -> None:
    """The whole day in one test: a server with content is dear, looking at it is cheap."""
    rich_world(lab)
    made = line.inside("backup", "--json").ok().json
    matches("backup --json", made)

    (listed,) = line.inside("list", "--json").ok().json
    assert {name: made[name] for name in listed if name != "collections"} == {
        name: value for name, value in listed.items() if name != "collections"
    }
    assert (listed["level"], listed["records"]) == (
        "content",
        sum(each["records"] for each in made["collections"].values()),
    )
    text = line.inside("list").ok().out.splitlines()
    assert text[0].split()[:2] == ["ID", "FINISHED"]
    assert made["id"] in text[1]
    assert "content" in text[1]

    shown = line.inside("show", "--json").ok().json
    assert shown == made
    assert shown["aliases"] == {"talk": "discussions", "Räte": "conventions"}
    assert shown["collections"]["discussions"]["payload_indexes"] == ["group", "rank"]
    text = line.inside("show", made["id"]).ok().out
    assert "Ümläut und Leerzeichen" in text
    assert "talk → discussions" in text
    assert "content, proven" in text

    verdict = line.inside("verify", "--content", "--json").ok().json
    matches("verify --json", verdict)
    assert verdict["backups"][0]["passed"]
    assert f"✓ {made['id']}: archive verified" in line.inside("verify", made["path"]).ok().out

    seen = line.inside("status", "--json").ok().json
    matches("status --json", seen)
    found = {each["name"]: each for each in seen["collections"]}
    assert list(found)[:2] == ["discussions", "conventions"]
    assert found["discussions"]["points"] == found["discussions"]["backed_up_records"] == 48
    assert found["discussions"]["retrieved"] is not None
    assert found["empty"] == {**found["empty"], "points": 0, "retrieved": None, "error": None}
    assert seen["last_backup"]["id"] == made["id"]
    text = line.inside("status").ok().out
    assert "memory" in text
    assert "level content" in text

    looked = line.inside("check", "--json")
    matches("check --json", looked.json)
    assert looked.code == 0, looked
    assert not [each for each in looked.json["findings"] if each["verdict"] == "problem"]
    assert line.inside("check").ok().out.startswith("  ✓ server: Qdrant ")

    plan = line.inside("restore", "latest", "--dry-run", "--json").ok().json
    matches("restore --dry-run --json", plan)
    matches("prune --json", line.inside("prune", "--keep-days", "0", "--json").ok().json)
    matches("config show --json", line.inside("config", "show", "--json").ok().json)
    matches("version --json", line.inside("version", "--json").ok().json)
    matches("list --json", line.inside("list", "--safety", "--json").ok().json)
    assert lab.left_on_server() == []


def test_restore_and_undo_print_what_is_documented(embedded_line: CommandLine, embedded: Lab) -> None:
    embedded.make("docs", points_of(5))
    embedded_line.inside("backup").ok()
    embedded.put("docs", points_of(3, seed=4, first=1))
    done = embedded_line.inside("restore", "latest", "--force", "--json").ok().json
    matches("restore --json", done)
    assert done["collections"]["docs"]["outcome"] == "new content"
    matches("list --json", embedded_line.inside("list", "--safety", "--json").ok().json)
    undone = embedded_line.inside("undo", "--yes", "--json").ok().json
    matches("restore --json", undone)
    assert undone["collections"]["docs"]["outcome"] == "previous content"


def test_the_validator_finds_what_differs() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert list(faults({"a": 1}, schema)) == []
    assert len(list(faults({"a": True}, schema))) == 1
    assert len(list(faults({"b": 1}, schema))) == 2
    assert len(list(faults([], schema))) == 1
    assert len(list(faults("x", {"type": "string", "enum": ["y"]}))) == 1
    assert {"list --json", "show --json", "status --json", "errors"} <= set(schemas())


def test_the_newest_is_listed_first_and_nothing_is_no_error(embedded_line: CommandLine) -> None:
    assert "No backups in" in embedded_line.inside("list").ok().out
    assert embedded_line.inside("list", "--json").ok().json == []
    assert not embedded_line.backups.exists()
    for days in (0, 2, 1):
        published(embedded_line.backups, FIRST + timedelta(days=days))
    ids = [each["id"] for each in embedded_line.inside("list", "--json").ok().json]
    assert ids == ["2026-02-05_143052", "2026-02-04_143052", "2026-02-03_143052"]
    assert {each["level"] for each in embedded_line.inside("list", "--json").json} == {"quick"}


def test_output_names_the_backup_directory_for_every_command_that_has_one(embedded_line: CommandLine) -> None:
    elsewhere = embedded_line.directory / "elsewhere"
    published(elsewhere)
    for words in (["list"], ["show"], ["prune", "--keep-days", "1"], ["config", "show"]):
        assert (
            "2026-02-03_143052" in (ran := embedded_line.inside(*words, "--output", elsewhere)).out
            or str(elsewhere) in ran.out
        ), ran
    for words in (["verify"], ["status"], ["check"], ["restore", "x"], ["undo"], ["resume"], ["backup"]):
        assert "--output" in embedded_line.inside(*words, "--help").ok().out


def test_a_damaged_catalogue_hides_no_backup(embedded_line: CommandLine) -> None:
    published(embedded_line.backups)
    (embedded_line.backups / ".catalogue.json").write_text("{")
    for words in ("list", "show", "status"):
        ran = embedded_line.inside(words).ok()
        assert "2026-02-03_143052" in ran.out
        assert "levels and pins are unknown" in ran.err
        assert "Proven restorable: no" not in ran.out


def test_backups_of_the_original_scripts_are_listed_shown_and_verified(
    embedded_line: CommandLine, original_backup: OriginalBackup
) -> None:
    output = ["--output", original_backup.backups_dir]
    before = tree_of(original_backup.backup_dir)
    listed = embedded_line.inside("list", "--json", *output).ok().json
    matches("list --json", listed)
    assert listed[0]["records"] == sum(map(len, original_backup.expected_points.values()))
    assert "original scripts" in embedded_line.inside("list", *output).ok().out
    matches("show --json", embedded_line.inside("show", "--json", *output).ok().json)
    embedded_line.inside("show", *output).ok()
    embedded_line.inside("verify", "--content", *output).ok()
    assert embedded_line.inside("list", "--json", *output).ok().json[0]["level"] == "content"
    assert tree_of(original_backup.backup_dir) == before


def test_content_that_could_not_be_verified_is_said_everywhere(embedded_line: CommandLine) -> None:
    import hashlib

    import msgspec

    from qdrant_backup.storage.directory import BackupDirectory
    from support.stored import manifest_of

    manifest = manifest_of(FIRST)
    (entry,) = manifest.collections.values()
    strange = msgspec.structs.replace(entry, unverified="a newer format")
    with BackupDirectory(embedded_line.backups).begin("2026-02-03_143052") as partial:  # pyright: ignore[reportArgumentType]
        from support.stored import SNAPSHOT

        assert hashlib.sha256(SNAPSHOT).hexdigest() == entry.sha256
        partial.write("qdrant/docs.snapshot", SNAPSHOT)
        partial.publish(
            msgspec.structs.replace(
                manifest, collections={"docs": strange}, warnings=["docs: content unverified (a newer format)"]
            )
        )
    assert "content unverified" in embedded_line.inside("list").ok().out
    assert "content unverified" in embedded_line.inside("list", "--json").ok().json[0]["warnings"][0]
    assert "content unverified: a newer format" in embedded_line.inside("show").ok().out


def test_status_of_a_server_that_does_not_answer_still_shows_the_last_backup(embedded_line: CommandLine) -> None:
    published(embedded_line.backups)
    ran = embedded_line.inside("status", "--json", env={"QDRANT_PORT": "1"})
    assert ran.code == 1
    matches("status --json", ran.json)
    assert ran.json["server"]["reachable"] is False
    assert ran.json["last_backup"]["id"] == "2026-02-03_143052"
    ran = embedded_line.inside("status", env={"QDRANT_PORT": "1"}).failed(1, "docker compose up -d")
    assert "no answer" in ran.out
    assert "2026-02-03_143052" in ran.out


def test_status_names_the_collection_that_gives_nothing_back(embedded_line: CommandLine, embedded: Lab) -> None:
    small_world(embedded, points=4)
    fault = {"match": "POST /collections/conventions/points/scroll", "action": "status", "code": 500, "times": None}
    embedded.running.script(fault)
    ran = embedded_line.inside("status", "--json")
    assert ran.code == 2
    matches("status --json", ran.json)
    assert {each["name"]: bool(each["error"]) for each in ran.json["collections"]} == {
        "discussions": False,
        "conventions": True,
        "code-patterns": False,
    }
    embedded_line.inside("status").failed(2, "conventions")


def test_status_says_which_restore_was_interrupted_and_what_ends_it(embedded_line: CommandLine, embedded: Lab) -> None:
    small_world(embedded, points=4)
    embedded_line.inside("backup").ok()
    assert embedded_line.inside("status", "--json").ok().json["unfinished"] is None
    embedded.running.script({"match": "POST /collections/*/snapshots/upload", "action": "slow_restore", "times": None})
    process = embedded_line.start("restore", "latest", "--force")
    until((embedded_line.backups / JOURNAL).exists, process)
    process.kill()
    process.communicate()
    embedded.running.script()

    ran = embedded_line.inside("status", "--json").ok()
    matches("status --json", ran.json)
    assert "has not ended" in ran.json["unfinished"]
    shown = embedded_line.inside("status").ok().out
    assert "has not ended" in shown
    assert "qdrant-backup resume --yes" in shown
    assert "qdrant-backup undo --yes" in shown
    undone = embedded_line.inside("undo", "--yes").ok().out
    assert undone.count("✓ discussions: ") == 1


def test_undo_says_once_of_each_collection_what_it_holds(embedded_line: CommandLine, embedded: Lab) -> None:
    small_world(embedded, points=4)
    embedded_line.inside("backup").ok()
    embedded_line.inside("restore", "latest", "--force").ok()
    undone = embedded_line.inside("undo", "--yes").ok().out
    assert undone.count("✓ discussions: ") == 1


def test_check_finds_what_would_fail_and_says_what_to_do(embedded_line: CommandLine, embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    good = embedded_line.inside("check").ok()
    assert "no config files" in good.out
    assert "there is none" in good.out
    assert not embedded_line.backups.exists()
    embedded_line.inside("check", env={"QDRANT_API_KEY": "wrong"}).failed(2, "server", "QDRANT_API_KEY")
    published(embedded_line.backups)
    (embedded_line.backups / "2026-02-03_143052" / "qdrant" / "docs.snapshot").unlink()
    ran = embedded_line.inside("check").failed(2, "damaged")
    assert "qdrant-backup verify 2026-02-03_143052" in ran.out
    file = embedded_line.directory / "file"
    file.write_text("")
    embedded_line.inside("check", "--output", file).failed(2, "cannot be written")


def test_config_show_masks_secrets_and_says_what_decided(embedded_line: CommandLine) -> None:
    (embedded_line.install / "docker").mkdir(parents=True)
    (embedded_line.install / "docker" / ".env").write_text("QDRANT_API_KEY=from-the-installation\nQDRANT_PORT=1\n")
    (embedded_line.directory / "qdrant-backup.toml").write_text("safety_days = 3\n")
    ran = embedded_line.inside("config", "show", "--json", "--host", "elsewhere", env={"QDRANT_API_KEY": None}).ok()
    shown = {each["variable"]: each for each in ran.json.values()}
    assert "from-the-installation" not in ran.out
    assert shown["QDRANT_API_KEY"]["source"].endswith("docker/.env")
    assert shown["QDRANT_HOST"] == {
        "value": "elsewhere",
        "source": shown["QDRANT_HOST"]["source"],
        "variable": "QDRANT_HOST",
    }
    assert "flag" in shown["QDRANT_HOST"]["source"] or "command line" in shown["QDRANT_HOST"]["source"]
    assert shown["QDRANT_PORT"]["source"] == "environment"
    assert shown["QDRANT_BACKUP_SAFETY_DAYS"]["value"] == "3"
    assert shown["QDRANT_BACKUP_SAFETY_DAYS"]["source"].endswith("qdrant-backup.toml")
    assert shown["SNAPSHOT_UPLOAD_TIMEOUT"]["value"]
    assert shown["QDRANT_URL"] == {"value": None, "source": "default", "variable": "QDRANT_URL"}
    text = embedded_line.inside("config", "show").ok().out
    assert API_KEY not in text
    assert "QDRANT_API_KEY" in text


def test_version_says_it_in_both_ways(embedded_line: CommandLine) -> None:
    assert embedded_line.inside("--version").ok().out == f"qdrant-backup, version {__version__}\n"
    assert embedded_line.inside("version", "--json").ok().json["qdrant-backup"] == __version__


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(embedded_line: CommandLine, command: str) -> None:
    ran = embedded_line.inside(command, "--help").ok()
    assert ran.out.startswith(f"Usage: qdrant-backup {command}")


@pytest.fixture
def on_path(tmp_path: Path) -> dict[str, str]:
    """An environment in which `qdrant-backup` is a program."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "qdrant-backup"
    program.write_text(f"#!{PROGRAM[0]}\n{PROGRAM[2]}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{directory}:/usr/bin:/bin", "HOME": str(tmp_path)}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_for_each_shell(embedded_line: CommandLine, shell: str) -> None:
    script = embedded_line.inside("completion", shell).ok().out
    assert "_QDRANT_BACKUP_COMPLETE" in script
    assert "qdrant-backup" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_a_command_and_its_options(embedded_line: CommandLine, on_path: dict[str, str]) -> None:
    (embedded_line.directory / "completion").write_text(embedded_line.inside("completion", "bash").ok().out)
    function = "$(complete -p qdrant-backup | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
    script = (
        f'source completion; f="{function}"\n'
        'for words in "qdrant-backup ba" "qdrant-backup prune --kee"; do\n'
        '  COMPREPLY=(); COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "$f" qdrant-backup; echo "${COMPREPLY[@]}"\n'
        "done"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=embedded_line.directory,
        env=on_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.split() == ["backup", "--keep-days"], done.stderr


def test_the_dev_server_serves_until_it_is_told_to_end(embedded_line: CommandLine) -> None:
    import time

    key = embedded_line.directory / "key"
    key.write_text("a-dev-key\n")
    process = embedded_line.start(
        "dev-server", "--port", "0", "--data", "data", "--api-key-file", key, "--port-file", "port"
    )
    port = embedded_line.directory / "port"
    deadline = time.monotonic() + 100
    while not port.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    reach = {"QDRANT_PORT": port.read_text().strip(), "QDRANT_API_KEY": "a-dev-key"}
    embedded_line.inside("status", env=reach).ok()
    embedded_line.inside("status", env=reach | {"QDRANT_API_KEY": "other"}).failed(9)
    process.terminate()
    ran = embedded_line.ended(process)
    assert ran.code in {0, 143}, ran
    assert "Embedded Qdrant at http://127.0.0.1:" in ran.out
    assert "Traceback" not in ran.err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_runs_to_its_end_and_leaves_nothing(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "line")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    ran = line.ended(line.start("demo", env={"TMPDIR": str(temporary)}), timeout=550).ok()
    assert "memories are back" in ran.out
    for command in ("backup", "list", "status", "restore latest", "verify latest"):
        assert f"$ qdrant-backup {command}" in ran.out
    assert list(temporary.iterdir()) == []
    assert not line.backups.exists()
