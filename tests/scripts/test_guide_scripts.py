"""The guide's two commands find the package from whichever Python calls them, or say how to install it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
COMMANDS = {"backup_qdrant.py": "backup", "restore_qdrant.py": "restore"}
RECORDER = """
import sys
def main(arguments, repository):
    print(sys.prefix, *arguments, sep="|")
    print(repository)
    sys.exit(5)
"""


@pytest.fixture
def project(tmp_path):
    """A clone with the scripts and nothing else."""
    root = tmp_path / "ai memory"
    (root / "scripts").mkdir(parents=True)
    for name in (*COMMANDS, "in_project.py"):
        shutil.copy(SCRIPTS / name, root / "scripts")
    return root


def package(where: Path) -> None:
    """A package of our name that tells which Python ran it with what."""
    (where / "qdrant_backup" / "cli").mkdir(parents=True)
    (where / "qdrant_backup" / "__init__.py").touch()
    (where / "qdrant_backup" / "cli" / "__init__.py").touch()
    (where / "qdrant_backup" / "cli" / "main.py").write_text(RECORDER)


def call(script: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path) if path else ""}
    # -S: this Python's own packages, ours among them, are out of sight
    command = [sys.executable, "-S", str(script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def make_venv(root: Path, with_package: bool) -> None:
    venv = root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=100)
    if with_package:
        [site] = venv.glob("lib/python*/site-packages") if os.name != "nt" else [venv / "Lib" / "site-packages"]
        package(site)


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_a_python_that_has_the_package_runs_the_command(project, tmp_path, name, command):
    package(tmp_path / "elsewhere")

    answer = call(project / "scripts" / name, "--output", "a b", path=tmp_path / "elsewhere")

    assert answer.stdout.splitlines()[0].endswith(f"|{command}|--output|a b")
    assert answer.stdout.splitlines()[1] == str(project)
    assert answer.returncode == 5


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_a_python_without_the_package_hands_over_to_the_projects_own(project, name, command):
    make_venv(project, with_package=True)

    answer = call(project / "scripts" / name, "x y", "--force")

    assert answer.stdout.splitlines() == [f"{project / '.venv'}|{command}|x y|--force", str(project)]
    assert answer.returncode == 5


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("venv", [True, False])
def test_without_the_package_anywhere_one_line_says_how_to_install_it(project, name, venv):
    if venv:
        make_venv(project, with_package=False)

    answer = call(project / "scripts" / name)

    assert answer.returncode == 64
    assert answer.stdout == ""
    assert answer.stderr.count("\n") == 1
    assert f"Run `make install` in {project}" in answer.stderr


@pytest.mark.parametrize("name", [*COMMANDS, "in_project.py"])
def test_an_old_python_can_parse_the_scripts(name):
    ast.parse((SCRIPTS / name).read_text(), feature_version=(3, 6))


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_the_real_package_answers(name, command):
    answer = subprocess.run(
        [sys.executable, str(SCRIPTS / name), "--help"], capture_output=True, text=True, timeout=100, check=False
    )

    assert answer.returncode == 0, answer.stderr
    assert command in answer.stdout
