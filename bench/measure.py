"""What a measurement is: a row with a budget, made by a registered function in a scratch directory.

Every row compares two things measured in the same run, in turns, so that a slow or busy machine slows both; the budget is
a ratio where the design gives a ratio, and an absolute number where it promises one to people who wait.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Measurement = Callable[[Path], Iterable["Row"]]

__all__ = ["MEASUREMENTS", "STATUS", "Row", "Unavailable", "in_turns", "measures", "table"]

MEASUREMENTS: dict[str, Measurement] = {}
STATUS = Path("/proc/self/status")
"""Where Linux tells a process how much memory it had at most, as `VmHWM`."""

HEAD = ("what", "ours", "reference", "ratio", "budget", "verdict")


class Unavailable(Exception):
    """This machine lacks what the measurement needs, such as a real server; the message says what."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what was measured.
        ours: seconds, or MiB when `unit` says so.
        reference: the same for what we are compared with; None for an absolute promise without one.
        ratio_budget: the most that ours / reference may be.
        budget: the most that ours may be, in its unit.
        compared_with: what the reference is.
    """

    name: str
    ours: float
    reference: float | None = None
    ratio_budget: float | None = None
    budget: float | None = None
    unit: str = "s"
    compared_with: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours / reference."""
        return self.ours / self.reference if self.reference else None

    @property
    def kept(self) -> bool:
        """Whether every budget it has is kept."""
        within = self.budget is None or self.ours <= self.budget
        return within and (self.ratio_budget is None or (self.ratio is not None and self.ratio <= self.ratio_budget))

    def _shown(self, value: float | None) -> str:
        if value is None:
            return "-"
        if self.unit != "s":
            return f"{value:.0f} {self.unit}"
        return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of the table's head."""
        reference = self._shown(self.reference) + (f" ({self.compared_with})" if self.compared_with else "")
        budgets = [] if self.ratio_budget is None else [f"{self.ratio_budget:g} x"]
        budgets += [] if self.budget is None else [self._shown(self.budget)]
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f} x"
        verdict = ("kept" if self.kept else "OVER") if budgets else "-"
        return self.name, self._shown(self.ours), reference, ratio, ", ".join(budgets) or "-", verdict


def measures(name: str) -> Callable[[Measurement], Measurement]:
    """Register a measurement under the name that `bench/run.py NAME` selects it by."""

    def register(measurement: Measurement) -> Measurement:
        MEASUREMENTS[name] = measurement
        return measurement

    return register


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes, without the collector's pauses for what came before."""
    gc.collect()
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def in_turns(*actions: Callable[[], object], runs: int, warm: bool = True) -> list[float]:
    """The median seconds of each action, run alternately `runs` times; `warm` runs each once before, uncounted."""
    if warm:
        for action in actions:
            action()
    times = [[seconds(action) for action in actions] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Lines of an aligned Markdown table."""
    lines = [HEAD, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    rule = tuple("-" * width for width in widths)
    for line in (HEAD, rule, *lines[1:]):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
