"""The contracts in pyproject.toml object to what they are there for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINTER = Path(sysconfig.get_path("scripts")) / "lint-imports"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint(copy: Path, contract: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(LINTER), "--no-cache", "--no-logo", "--contract", contract],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("contract", "module", "statement"),
    [
        ("rooms", "qdrant", "from qdrant_backup.storage import stray"),
        ("rooms", "storage", "import qdrant_backup.operations"),
        ("rooms", "archive", "import qdrant_backup.qdrant"),
        ("pure", "archive", "import os"),
        ("http", "operations", "import urllib3"),
        ("engine", "storage", "import qdrant_edge"),
        ("terminal", "operations", "import click"),
    ],
)
def test_an_import_that_breaks_a_contract_is_refused(copy, contract, module, statement):
    stray = copy / "src" / "qdrant_backup" / module / "stray.py"
    imported = copy / "src" / "qdrant_backup" / "storage" / "stray.py"
    imported.touch()
    stray.write_text(f"{statement}\n")

    refused = lint(copy, contract)

    stray.unlink()
    imported.unlink(missing_ok=True)
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert f"{module}.stray" in refused.stdout


def test_a_room_without_a_place_in_the_stack_is_refused(copy):
    room = copy / "src" / "qdrant_backup" / "attic"
    room.mkdir()
    (room / "__init__.py").touch()

    refused = lint(copy, "rooms")

    shutil.rmtree(room)
    assert refused.returncode == 1
    assert "attic" in refused.stdout
