"""`make bench`: runs the measurements and prints one table. Exit code 1 when a budget is exceeded.

    bench/run.py [NAME ...]     only these measurements; without a name all of them

A measurement is a function registered with `@measures(NAME)` in one of MODULES; `measure.py` says what it returns.
"""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import HEAD, MEASUREMENTS, Unavailable, table

MODULES = ("startup", "content", "transfers", "comparing", "looking", "recovering", "memory")
TESTS = Path(__file__).resolve().parents[1] / "tests"


def server_text() -> str:
    """The real server's version, or that there is none."""
    binary = shutil.which("qdrant")
    if binary is None:
        return "no real Qdrant on PATH"
    return subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def measure(name: str) -> tuple[list[tuple[str, ...]], bool]:
    """The rows of one measurement, and whether all budgets were kept."""
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="qdrant-backup-bench-") as scratch:
        try:
            rows = list(MEASUREMENTS[name](Path(scratch)))
        except Unavailable as why:
            return [(name, *["-"] * (len(HEAD) - 2), f"not measured: {why}")], True
    return [row.cells() for row in rows], all(row.kept for row in rows)


def main(names: list[str]) -> int:
    """Measure and print; 0 when every budget was kept, 1 when not, 64 for a name that does not exist."""
    sys.path.append(str(TESTS))  # the servers that the tests start are the ones to measure
    for module in MODULES:
        importlib.import_module(module)
    if unknown := sorted(set(names) - set(MEASUREMENTS)):
        print(f"no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}", file=sys.stderr)
        return 64
    results = [measure(name) for name in names or MEASUREMENTS]
    print(f"Python {platform.python_version()}, {platform.machine()}, {server_text()}\n")
    for line in table(cells for rows, _ in results for cells in rows):
        print(line)
    return 0 if all(kept for _, kept in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
