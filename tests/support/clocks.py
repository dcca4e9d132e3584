"""Clocks for tests that wait for nobody in particular."""

from __future__ import annotations

import time

from qdrant_backup.clock import SystemClock

__all__ = ["PACE", "BriskClock", "SleeplessClock"]

PACE = 20
"""What a second of waiting is divided by."""


class BriskClock(SystemClock):
    """The machine's own clock, on which pauses are short: the same looks in the same order, sooner.

    What is looked for has happened already in most tests, and three looks in a tenth of a second see it as well as three
    looks in two seconds. Deadlines stay as long as they are. A test in which the server goes on working after its client
    has left, or has to come back, takes the `SystemClock`: there the pauses are part of what is proven.
    """

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / PACE)


class SleeplessClock(SystemClock):
    """Its pauses are over at once, and were as long as asked."""

    def __init__(self) -> None:
        self._slept_s = 0.0

    def sleep(self, seconds: float) -> None:
        self._slept_s += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._slept_s
