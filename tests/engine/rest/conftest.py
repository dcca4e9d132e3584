from __future__ import annotations

import time
from collections.abc import Callable

import pytest


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Ask until it is so, for a minute at most."""

    def ask(question: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not question():
            assert time.monotonic() < deadline, "it never became so"
            time.sleep(0.02)

    return ask
