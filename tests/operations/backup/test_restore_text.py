"""`RESTORE.txt`: its commands restore the backup with sh and curl alone."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from qdrant_backup.operations.restore_text import restore_text
from support.restoring import Lab
from support.servers import API_KEY
from support.worlds import rich_world


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_its_commands_bring_everything_back_to_an_empty_server(lab: Lab) -> None:
    rich_world(lab)
    before = lab.state()
    made = lab.back_up()
    lab.running.empty()
    assert lab.state() == {"aliases": {}}
    environment = {"PATH": os.environ["PATH"], "QDRANT_URL": lab.running.url, "QDRANT_API_KEY": API_KEY}
    done = subprocess.run(
        ["sh", "-e", "RESTORE.txt"],
        cwd=made.path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.state() == before
    assert lab.left_on_server() == []


def test_no_name_reaches_the_shell_unquoted(embedded: Lab) -> None:
    name = "it's $(touch pwned) `touch pwned`; touch pwned & 'z' %s"
    embedded.make(name, [])
    embedded.alias("al'ias $(touch pwned)", name)
    before = embedded.state()
    made = embedded.back_up()
    embedded.running.empty()
    environment = {"PATH": os.environ["PATH"], "QDRANT_URL": embedded.running.url, "QDRANT_API_KEY": API_KEY}
    done = subprocess.run(
        ["sh", "-e", "RESTORE.txt"],
        cwd=made.path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert embedded.state() == before
    assert not (made.path / "pwned").exists()


def test_it_holds_no_key_and_names_the_server_it_was_made_of(embedded: Lab) -> None:
    made = embedded.back_up()
    text = restore_text(made.manifest)
    assert f"http://127.0.0.1:{embedded.running.port}" in text
    assert API_KEY not in text
