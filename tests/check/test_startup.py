"""Starting is cheap: the command line imports neither network, nor server, nor engine, nor terminal drawing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = (
    "urllib3",
    "rich",
    "starlette",
    "uvicorn",
    "qdrant_edge",
    "asyncio",
    "multipart",
    "python_multipart",
    "numpy",
    "pyarrow",
)
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


def processor_seconds(code: str) -> float:
    """What a Python that runs this code uses of the processor; unlike the clock on the wall, no other process adds to it.

    Without the caller's PYTHON... variables: one of them forbids bytecode, and compiling is not what is measured.
    """
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    started = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    assert started.returncode == 0
    return usage.ru_utime + usage.ru_stime


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


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="only Unix says what one child used")
def test_the_version_costs_a_few_starts_of_python_at_most():
    version = "from qdrant_backup.cli.main import main; main(['--version'])"
    pairs = [(processor_seconds(version), processor_seconds("pass")) for _ in range(RUNS)]
    ours, bare = (min(times) for times in zip(*pairs, strict=True))

    assert ours / bare < MOST, f"{ours * 1000:.0f} ms against {bare * 1000:.0f} ms"


def test_a_heavy_import_would_be_seen():
    code = "import sys, asyncio; print(0, *sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=100)

    assert [name for name in HEAVY if name in ended.stderr.split()] == ["asyncio"]
