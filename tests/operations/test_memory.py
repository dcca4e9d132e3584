"""A backup and a restore take no more memory for a million points than for a hundred."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.command import CommandLine
from support.servers import RunningServer

MOST_MIB = 128
POINTS = {"real": 1_000_000, "embedded": 30_000}
BATCH = 10_000
# A process knows its own peak; what its parent can ask for includes the engine's child, which has a limit of its own.
PROGRAM = """
import sys
from qdrant_backup.cli.main import main
try:
    main(sys.argv[2:])
finally:
    with open("/proc/self/status") as status, open(sys.argv[1], "w") as peak:
        peak.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def fill(server: RunningServer, count: int) -> None:
    status, answer = server.call("PUT", "/collections/many", {"vectors": {"size": 4, "distance": "Dot"}})
    assert status == 200, answer
    for begin in range(0, count, BATCH):
        points = ",".join(
            f'{{"id":{n},"vector":[{n % 97}.5,1.25,{n % 13}.0,0.5],"payload":{{"n":{n}}}}}'
            for n in range(begin, min(count, begin + BATCH))
        )
        status, answer = server.call("PUT", "/collections/many/points?wait=true", f'{{"points":[{points}]}}'.encode())
        assert status == 200, answer


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory a process had at most")
def test_a_backup_and_its_restore_stay_within_128_mib_whatever_the_size(server: RunningServer, tmp_path: Path) -> None:
    count = POINTS[server.kind]
    fill(server, count)
    command = CommandLine.at(tmp_path, server)
    for words in (["backup"], ["restore", "latest", "--force"]):
        process = command.start(program=[sys.executable, "-c", PROGRAM, str(tmp_path / "peak"), *words])
        ran = command.ended(process, timeout=600.0).ok()
        assert f"ecords: {count}" in ran.out
        assert int((tmp_path / "peak").read_text("utf-8")) / 1024 < MOST_MIB
