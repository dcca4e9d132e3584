"""Safety copies go some days after their restore was committed, and never while something depends on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.errors import CollectionFailed, NotUndoable
from qdrant_backup.operations.expiry import expire_safety
from qdrant_backup.storage.lock import DirectoryLock
from support.clocks import BriskClock
from support.restoring import Lab, points_of, poisoned, upload_instead
from support.servers import RunningServer


class Shifted(BriskClock):
    """A wall clock that the test turns."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.shift


@pytest.fixture
def turned(embedded_server: RunningServer, tmp_path: Path) -> Lab:
    return Lab(embedded_server, tmp_path / "backups", tmp_path / "scratch", clock=Shifted(), wait_s=8.0)


def days_pass(lab: Lab, days: int) -> None:
    """One tiny backup a day."""
    lab.make("diary", [])
    for _ in range(days):
        lab.clock.shift += timedelta(days=1)  # pyright: ignore[reportAttributeAccessIssue]
        lab.back_up("diary")
    lab.delete("diary")


def expire(lab: Lab, days: int) -> int:
    with DirectoryLock(lab.root, lab.clock, "test") as lock:
        return len(expire_safety(lab.ports, lock, days))


def restored(lab: Lab) -> None:
    lab.make("docs", points_of(4))
    lab.back_up()
    lab.put("docs", points_of(2, seed=2))
    lab.restore()


def test_it_goes_with_its_record_after_the_days(turned: Lab) -> None:
    restored(turned)
    days_pass(turned, 2)
    assert expire(turned, 3) == 0
    assert expire(turned, 2) == 1
    assert turned.safety_copies() == []
    with pytest.raises(NotUndoable):
        turned.undo()


@pytest.mark.fault("P09")
def test_10_a_leap_of_the_clock_expires_nothing(turned: Lab) -> None:
    restored(turned)
    turned.clock.shift = timedelta(days=4000)  # pyright: ignore[reportAttributeAccessIssue]
    assert expire(turned, 2) == 0
    turned.clock.shift = timedelta(days=-4000)  # pyright: ignore[reportAttributeAccessIssue]
    assert expire(turned, 0) == 0


def test_10_the_copy_of_a_target_that_is_not_restored_never_goes(turned: Lab) -> None:
    turned.make("docs", points_of(4))
    turned.back_up()
    turned.put("docs", points_of(2, seed=2))

    def garbage(real: Callable[..., Any], name: str, **options: Any) -> Any:
        return upload_instead(poisoned)(real, name, **options)

    turned.server.hooks["upload_snapshot"] = garbage
    with pytest.raises(CollectionFailed):
        turned.restore()
    turned.server.hooks.clear()
    days_pass(turned, 2)
    assert expire(turned, 1) == 0
    assert len(turned.safety_copies()) == 1
