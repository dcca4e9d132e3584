"""What the storage tests share."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest


class FixedClock:
    """A clock that a test sets; waiting moves it on."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 2, 3, 14, 30, 52, tzinfo=timezone.utc)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def sleep(self, seconds: float) -> None:
        self.moment = datetime.fromtimestamp(self.moment.timestamp() + seconds, timezone.utc)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()
