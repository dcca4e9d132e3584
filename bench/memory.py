"""How much memory a backup and a restore take at their peak, the engine's child apart."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from content import fill, start
from measure import STATUS, Row, Unavailable, measures
from support.servers import API_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_MIB = 128.0
POINTS = 1_000_000
DIMENSIONS = 4
# What wait4 says includes the engine's child, and what this process had before it became that Python: it has to say itself.
CODE = """
import sys
try:
    from qdrant_backup.cli.main import main
    main({arguments!r})
finally:
    with open({status!r}) as status, open({peak!r}, "w") as peak:
        peak.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def peak_mib(arguments: list[str], environment: dict[str, str], scratch: Path) -> float:
    """The most memory that a run of our command line had resident; the engine's child is not counted.

    Raises:
        Unavailable: the command failed, or this system does not tell.
    """
    if not STATUS.exists():
        raise Unavailable("only Linux says how much memory a process had at most")
    peak = scratch / "peak"
    code = CODE.format(arguments=arguments, status=str(STATUS), peak=str(peak))
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=1800, check=False
    )
    if ended.returncode:
        raise Unavailable(f"{arguments[0]} ended with {ended.returncode}: {ended.stderr[-300:]!r}")
    return int(peak.read_text("utf-8")) / 1024


@measures("memory")
def memory(scratch: Path) -> Iterator[Row]:
    """Design 17: 128 MiB, whatever the size."""
    server = start(scratch)
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith(("QDRANT_", "AI_MEMORY_", "PYTHON"))},
        "QDRANT_HOST": "127.0.0.1",
        "QDRANT_PORT": str(server.port),
        "QDRANT_API_KEY": API_KEY,
        "AI_MEMORY_BACKUP_DIR": str(scratch / "backups"),
        "AI_MEMORY_INSTALL_DIR": str(scratch / "no-installation"),
    }
    try:
        fill(server, POINTS, dimensions=DIMENSIONS)
        start_up = peak_mib(["--version"], environment, scratch)
        for arguments in (["backup"], ["restore", "latest", "--force"]):
            ours = peak_mib(arguments, environment, scratch)
            name = f"peak memory of {arguments[0]}, {POINTS:,} points"
            yield Row(name, ours, start_up, budget=MOST_MIB, unit="MiB", compared_with="--version")
    finally:
        server.stop()
