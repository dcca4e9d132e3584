"""What `backup` prints: the guide's lines, JSON, and progress for somebody who watches."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import CommandLine
from support.contracts import matches
from support.relay import Answer, Relay, Rule
from support.restoring import Lab
from support.servers import RunningServer
from support.worlds import small_world

RULE = "=" * 60
SIZE = r"\d+\.\d (B|KB|MB|GB|TB)"
PATH = r"/\S+/backups/\d{4}-\d\d-\d\d_\d{6}"
GUIDE = rf"""{RULE}
  AI Memory Backup
{RULE}

  Backup directory: {PATH}
  Qdrant: 127\.0\.0\.1:\d+

  Checking disk space\.\.\.
    ✓ {SIZE} available
  Backing up discussions\.\.\.
    ✓ 20 records, snapshot created \({SIZE}\)
  Backing up conventions\.\.\.
    ✓ 10 records, snapshot created \({SIZE}\)
  Backing up code-patterns\.\.\.
    ✓ 10 records, snapshot created \({SIZE}\)

  Backing up config files\.\.\.
    ✓ settings\.json
    ✓ \.env

{RULE}
  ✓ Backup complete: {PATH}

  Total size: {SIZE}
  Collections: 3
  Records: 40
{RULE}
"""


@pytest.fixture
def ready(embedded_line: CommandLine, embedded: Lab) -> CommandLine:
    small_world(embedded)
    embedded_line.install.mkdir()
    (embedded_line.install / "settings.json").write_text("{}")
    (embedded_line.install / ".env").write_text("A=1\n")
    return embedded_line


def test_it_prints_the_guides_lines(ready: CommandLine) -> None:
    ran = ready.run("backup").ok()
    assert re.fullmatch(GUIDE, ran.out), ran.out
    assert ran.err == ""
    assert "\x1b" not in ran.out
    (path,) = ready.published()
    assert str(path) in ran.out


def test_the_guides_script_prints_the_same(ready: CommandLine) -> None:
    script = Path(__file__).parents[2] / "scripts" / "backup_qdrant.py"
    from sys import executable

    done = subprocess.run(
        [executable, script, "--output", ready.directory / "else where"],
        env=ready.environment(),
        cwd=ready.directory,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(GUIDE.replace("/backups/", "/else where/").replace(r"\S", "."), done.stdout), done.stdout


def test_json_is_one_object_and_nothing_else(ready: CommandLine) -> None:
    ran = ready.run("backup", "--json").ok()
    matches("backup --json", ran.json)
    assert ran.json["records"] == 40
    assert ran.json["level"] == "content"
    assert ran.err == ""


def test_progress_is_drawn_on_a_terminal_and_only_on_standard_error(ready: CommandLine) -> None:
    watcher, terminal = pty.openpty()
    seen: list[bytes] = []

    def watch() -> None:
        try:
            while data := os.read(watcher, 65536):
                seen.append(data)
        except OSError:  # Linux says so when the other side is closed.
            return

    reader = threading.Thread(target=watch)
    reader.start()
    process = ready.start("backup", env={"TERM": "xterm", "COLUMNS": "100"}, stderr=terminal)
    os.close(terminal)
    ran = ready.ended(process)
    reader.join(60)
    os.close(watcher)
    drawn = b"".join(seen).decode()
    assert ran.code == 0, drawn
    assert re.fullmatch(GUIDE, ran.out), ran.out
    assert "\x1b[" in drawn
    assert "Downloading" in drawn
    assert "✓" not in drawn


def test_a_reader_who_goes_away_does_not_end_the_backup(ready: CommandLine) -> None:
    process = ready.start("backup")
    assert process.stdout.readline() == RULE + "\n"
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(110) == 0, err
    process.stderr.close()
    assert err == ""
    ready.run("verify").ok()


def test_a_terminal_without_umlauts_gets_its_backup_too(ready: CommandLine) -> None:
    ran = ready.run("backup", env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}).ok()
    assert "Backup complete" in ran.out


def test_names_that_would_move_the_cursor_are_shown_harmless(embedded_line: CommandLine, embedded: Lab) -> None:
    config_name = "a\u202eb"
    embedded.make(config_name, [])
    ran = embedded_line.run("backup").ok()
    assert "\u202e" not in ran.out
    assert "a\\u202eb" in ran.out


def test_json_has_the_warnings_that_people_would_have_read(
    ready: CommandLine, embedded: Lab, relay_to: Callable[[RunningServer], Relay]
) -> None:
    relay = relay_to(embedded.running)
    relay.rules.append(Rule("DELETE /collections/*/snapshots/*-20*.snapshot*", Answer(500, b"no"), times=99))
    ran = ready.run("backup", "--json", env={"QDRANT_PORT": str(relay.port)}).ok()
    matches("backup --json", ran.json)
    assert len([text for text in ran.json["warnings"] if "stays on the server" in text]) == 3
    assert len(embedded.left_on_server()) == 3
