"""Starting is cheap: the command line imports neither network, nor server, nor engine, nor terminal drawing."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ("urllib3", "rich", "starlette", "uvicorn", "qdrant_edge", "asyncio", "multipart", "python_multipart", "numpy")
MOST = 8.0
RUNS = 7
AFTERWARDS = """
import sys
from qdrant_backup.cli.main import main
try:
    main({arguments!r})
except SystemExit as end:
    code = end.code
print(code, *sorted(sys.modules), file=sys.stderr)
"""


def seconds(arguments: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=100)
    return time.perf_counter() - begin


def modules_after(arguments: list[str]) -> tuple[str, set[str]]:
    """The exit code of a command, and what it had imported at its end."""
    ended = subprocess.run(
        [sys.executable, "-c", AFTERWARDS.format(arguments=arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    code, *modules = ended.stderr.split()
    return code, set(modules)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["backup", "--help"], ["restore", "--help"]])
def test_saying_what_it_is_imports_nothing_heavy(arguments):
    code, modules = modules_after(arguments)

    assert code in {"0", "None"}
    assert "qdrant_backup.cli.main" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_the_version_costs_a_few_starts_of_python_at_most():
    """A ratio of two minima taken in turns, so that a busy machine slows both."""
    version = ["-c", "from qdrant_backup.cli.main import main; main(['--version'])"]
    pairs = [(seconds(version), seconds(["-c", "pass"])) for _ in range(RUNS)]
    ours, bare = (min(times) for times in zip(*pairs, strict=True))

    assert ours / bare < MOST, f"{ours * 1000:.0f} ms against {bare * 1000:.0f} ms"


def test_a_heavy_import_would_be_seen():
    code = "import sys, asyncio; print(0, *sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=100)

    assert [name for name in HEAVY if name in ended.stderr.split()] == ["asyncio"]
