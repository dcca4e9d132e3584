"""The targets under a fuzzer that coverage leads (atheris): `guided.py SECONDS [TARGET]`, each target a process of its own.

What it finds is kept in `.fuzz/`, and so is what it learnt, so that a later run begins where this one ended.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / ".fuzz"
LONGEST_INPUT_BYTES = 1 << 16
MEMORY_MB = 1024


def fuzz(name: str, seconds: str) -> None:
    """Never returns: the fuzzer ends the process, with 0 when nothing was found."""
    sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT / "src")]
    # By name: the type checker must not need what most machines lack.
    atheris: Any = importlib.import_module("atheris")

    with atheris.instrument_imports(include=["qdrant_backup"]):
        from targets import TARGETS

    learnt = KEPT / name
    learnt.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_INPUT_BYTES}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-timeout=20",
        "-verbosity=0",
        "-print_final_stats=1",
        f"-artifact_prefix={KEPT}/{name}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(learnt), str(HERE / "corpus" / name)], TARGETS[name])
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    seconds = arguments[0]
    if importlib.util.find_spec("atheris") is None:
        print("not run: the fuzzer that coverage leads; there is no wheel of atheris for this machine and Python")
        return 0
    if len(arguments) > 1:
        fuzz(arguments[1], seconds)
    sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT / "src")]
    from targets import TARGETS

    failed: list[str] = []
    for name in TARGETS:
        done = subprocess.run(
            [sys.executable, __file__, seconds, name], cwd=ROOT, capture_output=True, text=True, check=False
        )
        stats = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(f"{name}: {stats[0].split()[-1] if stats else 'no'} inputs, {'ok' if not done.returncode else 'FAILED'}")
        if done.returncode:
            failed.append(name)
            print("\n".join((done.stdout + done.stderr).splitlines()[-40:]))
    print(f"Found something in {', '.join(failed)}: see {KEPT.name}/" if failed else "Nothing was found.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
