"""A clock for tests that wait for nobody in particular."""

from __future__ import annotations

import time

from qdrant_backup.clock import SystemClock

__all__ = ["PACE", "BriskClock"]

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
