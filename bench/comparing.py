"""What comparing two backups costs: the digests of a million points, in time and in memory."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

from measure import STATUS, Row, Unavailable, measures, seconds
from qdrant_backup.digest import DigestWriter, point_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

POINTS = 1_000_000
CHANGED = 10_000
REMOVED = 1_000
DIFF_S = 3.0
MEMORY_MIB = 200.0
RUNS = 3
BATCH = 4096
# Not `ru_maxrss`: it keeps what the process that forked had, here the one that has just written three digests.
COMPARE = """
import sys
from qdrant_backup.digest import DigestReader
from qdrant_backup.digest_merge import changes
with open(sys.argv[1], "rb") as before, open(sys.argv[2], "rb") as after:
    found = sum(1 for _ in changes(DigestReader(before), DigestReader(after)))
assert found == int(sys.argv[3]), found
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def digest(path: Path, changed: Collection[int] = (), removed: Collection[int] = ()) -> Path:
    """A digest of a million points, some of them with another payload, some not there."""
    with path.open("wb") as file:
        writer = DigestWriter(file.write, [""])
        for begin in range(0, POINTS, BATCH):
            writer.add(
                [
                    point_key(number) + (2 * number + (number in changed)).to_bytes(16, "big") + bytes(16)
                    for number in range(begin, min(POINTS, begin + BATCH))
                    if number not in removed
                ]
            )
        writer.finish()
    return path


@measures("diff")
def diff(scratch: Path) -> Iterator[Row]:
    """Issue 4: two digests of a million points within 3 s and 200 MiB."""
    if not STATUS.exists():
        raise Unavailable("only Linux says how much memory a process had at most")
    chosen = random.Random(5).sample(range(POINTS), CHANGED + REMOVED)
    before = digest(scratch / "before.digest")
    after = digest(scratch / "after.digest", set(chosen[:CHANGED]), set(chosen[CHANGED:]))
    other = digest(scratch / "other.digest", range(POINTS))
    for name, path, found in (("1 % changed", after, CHANGED + REMOVED), ("all changed", other, POINTS)):
        command = [sys.executable, "-c", COMPARE, str(before), str(path), str(found)]
        peaks: list[float] = []

        def compare(command: list[str] = command, peaks: list[float] = peaks) -> None:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks.append(int(done.stdout) / 1024)

        yield Row(f"diff of {POINTS:,} points, {name}", min(seconds(compare) for _ in range(RUNS)), budget=DIFF_S)
        yield Row(f"memory of it, {name}", max(peaks), budget=MEMORY_MIB, unit="MiB")
