"""Our edition of the guide says everything the original said, and each of its commands does what stands beside it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "BACKUP-RESTORE.md").read_text("utf-8")

# What the original guide holds; in our edition it must still stand, headings and steps in the same order.
HEADINGS = """\
# Backup & Restore Guide
## Overview
### What Gets Backed Up
### Where Backups Are Stored
### Manifest File
## Prerequisites
## Setup (One-Time)
### Step 1: Navigate to AI-Memory Repository
### Step 2: Create Python Virtual Environment
### Step 3: Install Required Dependency
### Step 4: Get Your QDRANT_API_KEY
### Step 5: Export the Key
## Backup
### Basic Backup
### Custom Output Directory
### Include Logs
### Expected Output
### Backup Contents
## Restore
### Basic Restore
### Force Overwrite (No Confirmation)
### Restore Config Files Too
### Restore Config with Force
### Expected Output
## Verification
### Verify Backup Completed Successfully
### Verify Restore Completed Successfully
## Troubleshooting
### HTTP 401 Unauthorized
### Connection Refused
### Snapshot Upload Timeout
### Insufficient Disk Space (Exit Code 3)
### Missing httpx Library
### Restore Rollback
## Best Practices
## Exit Codes
## Environment Variables""".splitlines()
COMMANDS = r"""
cd /path/to/ai-memory
python3 -m venv .venv
source .venv/bin/activate
.venv\Scripts\activate
pip install httpx
cat ~/.ai-memory/docker/.env | grep QDRANT_API_KEY
export QDRANT_API_KEY="your-key-here"
python scripts/backup_qdrant.py
python scripts/backup_qdrant.py --output /custom/path
python scripts/backup_qdrant.py --include-logs
python scripts/restore_qdrant.py backups/2026-02-03_143052
python scripts/restore_qdrant.py backups/2026-02-03_143052 --force
python scripts/restore_qdrant.py backups/2026-02-03_143052 --restore-config
python scripts/restore_qdrant.py backups/2026-02-03_143052 --restore-config --force
ls -la backups/
cat backups/2026-02-03_143052/manifest.json | python -m json.tool
ls -la backups/2026-02-03_143052/qdrant/
curl -H "api-key: $QDRANT_API_KEY" http://localhost:26350/collections
curl -H "api-key: $QDRANT_API_KEY" http://localhost:26350/collections/discussions
/aim-status
cd ~/.ai-memory/docker && docker compose up -d
./scripts/upgrade.sh
rsync -av backups/ backup-server:/ai-memory-backups/
0 2 * * * cd /path/to/ai-memory && .venv/bin/python scripts/backup_qdrant.py
find backups/ -maxdepth 1 -type d -mtime +7 -exec rm -rf {} \;
""".strip().splitlines()
VARIABLES = {
    "QDRANT_HOST": "localhost",
    "QDRANT_PORT": "26350",
    "QDRANT_API_KEY": "",
    "AI_MEMORY_BACKUP_DIR": "<repo>/backups",
    "AI_MEMORY_INSTALL_DIR": "~/.ai-memory",
    "SNAPSHOT_UPLOAD_TIMEOUT": "300",
}
EXIT_CODES = {
    "0": "Success",
    "1": "Qdrant connection failed",
    "2": "Collection backup failed",
    "3": "Insufficient disk space / Qdrant connection failed (restore)",
    "4": "Config backup failed / Collection restore failed",
}
CONTENTS = ("`qdrant/`", "`config/`", "`logs/`", "`manifest.json`")

EXAMPLE_ID = "2026-02-03_143052"
CHECKED = ("python scripts/", "qdrant-backup ", "sha256sum ", "curl ", "ls ", "cat ")
RECORDS = {"discussions": 42, "conventions": 15, "code-patterns": 8}
AT_LEAST = 22


def test_every_section_of_the_original_stands_in_its_order():
    ours = re.findall(r"^#{1,3} .*", re.sub(r"^```.*?^```", "", GUIDE, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)

    assert [heading for heading in ours if heading in HEADINGS] == HEADINGS


def test_every_command_of_the_original_stands_in_it():
    assert [command for command in COMMANDS if command not in GUIDE] == []


def test_every_variable_and_exit_code_of_the_original_keeps_its_meaning():
    for variable, default in VARIABLES.items():
        assert f"`{variable}`" in GUIDE
        assert not default or re.search(rf"{variable}.{{0,20}}{re.escape(default)}", GUIDE), variable
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in GUIDE


def test_everything_a_backup_contained_is_still_listed():
    assert [name for name in CONTENTS if f"| {name} |" not in GUIDE] == []


def guide_commands() -> list[tuple[str, int]]:
    """The commands that can be run here, each with the exit code it is documented to end with."""
    found: list[tuple[str, int]] = []
    for block in re.findall(r"^ *```bash\n(.*?)^ *```", GUIDE, re.MULTILINE | re.DOTALL):
        for line in textwrap.dedent(block).splitlines():
            if line.startswith(CHECKED):
                code = re.search(r"#.*\bexit code (\d+)", line)
                found.append((line, int(code[1]) if code else 0))
    return found


def outputs() -> list[str]:
    """The guide's two blocks of expected output."""
    return re.findall(r"^### Expected Output\n\n```\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def shape(text: str, root: Path, port: int) -> list[str]:
    """Output without what differs from run to run: times, sizes, places."""
    text = text.replace(str(root), "/path/to/ai-memory").replace(f"localhost:{port}", "localhost:26350")
    text = re.sub(r"\d{4}-\d\d-\d\d_\d{6}", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"\d+\.\d (?:B|KB|MB|GB|TB)\b", "SIZE", text)
    return text.splitlines()


class Checkout:
    """A repository with the guide's scripts, an installation in the user's home, and a shell's memory."""

    def __init__(self, root: Path, server, monkeypatch) -> None:
        self.root = root / "ai-memory"
        shutil.copytree(ROOT / "scripts", self.root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        self.custom = root / "custom" / "path"
        self.port = server.port
        home = Path(os.environ["HOME"])
        (home / ".ai-memory" / "docker").mkdir(parents=True)
        (home / ".ai-memory" / "logs").mkdir()
        (home / ".ai-memory" / "logs" / "hooks.log").write_text("started\n")
        (home / ".ai-memory" / "version.txt").write_text("2.0.2\n")
        (home / ".ai-memory" / "settings.json").write_text("{}\n")
        (home / ".ai-memory" / "docker" / ".env").write_text(f"QDRANT_API_KEY={server.api_key}\n")
        programs = root / "bin"
        programs.mkdir()
        self._program(programs / "python", "")
        self._program(programs / "qdrant-backup", '-c "from qdrant_backup.cli.main import main; main()"')
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("QDRANT_PORT", str(server.port))
        monkeypatch.setenv("QDRANT_API_KEY", server.api_key)

    @staticmethod
    def _program(path: Path, arguments: str) -> None:
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        path.chmod(0o755)

    def run(self, line: str, backup_id: str, *, terminal: bool) -> subprocess.CompletedProcess[str]:
        """Run a line of the guide as a user types it, who says yes when asked on a terminal."""
        command = line.replace(EXAMPLE_ID, backup_id).replace("/custom/path", str(self.custom))
        command = command.replace("26350", str(self.port))
        where = self.root / "backups" / backup_id if line.startswith("sha256sum") else self.root
        master, slave = os.openpty()
        try:
            os.write(master, b"y\n")
            return subprocess.run(
                ["/bin/sh", "-c", command],
                stdin=slave if terminal else subprocess.DEVNULL,
                cwd=where,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        finally:
            os.close(slave)
            os.close(master)

    @property
    def first_backup(self) -> str:
        """The id of the oldest backup; the guide's own before there is one."""
        ids = sorted(path.name for path in (self.root / "backups").glob("[0-9]*"))
        return ids[0] if ids else EXAMPLE_ID


def fill(server) -> None:
    for name, records in RECORDS.items():
        path = f"/collections/{name}"
        assert server.call("PUT", path, {"vectors": {"size": 4, "distance": "Cosine"}})[0] == 200
        points = [
            {"id": number, "vector": [1, number, 2, 3], "payload": {"content": f"{name} {number}"}}
            for number in range(1, records + 1)
        ]
        assert server.call("PUT", f"{path}/points?wait=true", {"points": points})[0] == 200


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(os.name == "nt", reason="the guide's commands are for a POSIX shell")
def test_every_command_of_the_guide_works_in_its_order_and_prints_what_the_guide_shows(server, tmp_path, monkeypatch):
    fill(server)
    checkout = Checkout(tmp_path, server, monkeypatch)
    commands = guide_commands()
    assert len(commands) >= AT_LEAST
    printed: list[str] = []

    for line, code in commands:
        if shutil.which(line.split()[0]) is None:
            continue  # curl and sha256sum are the guide's, not ours
        answer = checkout.run(line, checkout.first_backup, terminal=code == 0)
        assert answer.returncode == code, f"{line}\n{answer.stdout}\n{answer.stderr}"
        if line.startswith("curl"):
            assert '"status":"ok"' in answer.stdout, line
        if line in (
            "python scripts/backup_qdrant.py",
            f"python scripts/restore_qdrant.py backups/{EXAMPLE_ID} --force",
        ):
            printed.append(answer.stdout)

    backup, restore = printed[0], printed[1]
    for expected, found in zip(outputs(), (backup, restore), strict=True):
        assert shape(found, checkout.root, server.port) == shape(expected, Path("/path/to/ai-memory"), 26350)
    assert [path.name for path in checkout.custom.glob("[0-9]*/manifest.json")] == ["manifest.json"]
    for name, records in RECORDS.items():
        status, answer = server.call("POST", f"/collections/{name}/points/count", {"exact": True})
        assert (status, answer["result"]["count"]) == (200, records)
