"""`undo` is a restore of its own: it loses nothing either, and takes back exactly one restore."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.errors import CollectionFailed, NotUndoable, RefusedForSafety
from qdrant_backup.operations.restore.undo import plan_undo
from support.clocks import BriskClock
from support.restoring import Lab, points_of, upload_instead
from support.servers import RunningServer

INDEXES = {"rank": "integer"}


def restored(lab: Lab) -> dict[str, Any]:
    """A restore over changed data, of a deleted collection, and of aliases; what was there before it."""
    lab.make("docs", points_of(20), indexes=INDEXES)
    lab.make("gone", points_of(4))
    lab.alias("live", "docs")
    lab.alias("old", "gone")
    lab.back_up()
    lab.put("docs", points_of(10, seed=2, first=15))
    lab.delete("gone")
    lab.make("other", [])
    lab.alias("live", "other")
    lab.index("docs", "group", "keyword")
    before = lab.state()
    lab.restore()
    return before


def test_undo_brings_back_everything_that_the_restore_replaced(lab: Lab) -> None:
    before = restored(lab)
    plan = plan_undo(lab.ports)
    assert (plan.restored, plan.removed, plan.unfinished) == (("docs",), ("gone",), False)
    report = lab.undo()
    assert lab.state() == before
    assert {target.target: target.outcome.value for target in report.targets} == {
        "docs": "previous content",
        "gone": "gone",
    }
    assert lab.left_on_server() == []


def test_undo_consumes_its_record_and_then_there_is_nothing_to_undo(lab: Lab) -> None:
    restored(lab)
    lab.undo()
    with pytest.raises(NotUndoable) as caught:
        lab.undo()
    assert caught.value.codes.others == 2


def test_undo_of_a_replace_brings_back_the_config(lab: Lab) -> None:
    lab.make("docs", points_of(20), indexes=INDEXES)
    lab.back_up()
    lab.delete("docs")
    lab.make("docs", points_of(6, seed=3), {"vectors": {"size": 4, "distance": "Euclid"}}, {"text": "text"})
    lab.alias("mine", "docs")
    before = lab.state()
    lab.restore(replace=True)
    lab.undo()
    assert lab.state() == before


def test_4_undo_refuses_what_was_written_since_without_a_typed_flag_and_keeps_it_with_one(lab: Lab) -> None:
    before = restored(lab)
    lab.put("docs", points_of(3, seed=9, first=400))
    changed = lab.state()
    with pytest.raises(RefusedForSafety, match="docs was written to") as caught:
        lab.undo()
    assert "--force-changes" in caught.value.advice
    assert lab.state() == changed
    report = lab.undo(force_changes=True)
    assert lab.state() == before
    kept = lab.ports.directory.find(report.safety_path)
    assert kept.manifest.collections["docs"].records == 23


def test_4_a_collection_that_the_restore_created_is_deleted_only_if_unchanged(lab: Lab) -> None:
    restored(lab)
    lab.put("gone", points_of(2, seed=9, first=400))
    with pytest.raises(RefusedForSafety, match="gone was written to"):
        lab.undo()
    report = lab.undo(force_changes=True)
    assert "gone" not in lab.state()
    assert lab.ports.directory.find(report.safety_path).manifest.collections["gone"].records == 6


def test_4_an_alias_moved_since_is_a_change(lab: Lab) -> None:
    restored(lab)
    lab.alias("live", "gone")
    with pytest.raises(RefusedForSafety, match="alias live was moved to gone"):
        lab.undo()


def test_4_an_undo_that_fails_puts_back_what_the_restore_had_made(lab: Lab) -> None:
    restored(lab)
    after = lab.state()
    strikes = [1]

    def lossy(real: Callable[..., Any], name: str, **options: Any) -> Any:
        if strikes:
            from qdrant_backup.errors import ServerRefused

            real(name, **options)
            if len(lab.server.calls("upload_snapshot")) > 2:
                strikes.clear()
            raise ServerRefused("no", status=500, why="out of luck")
        return real(name, **options)

    lab.server.called.clear()
    lab.server.hooks["upload_snapshot"] = lossy
    with pytest.raises(CollectionFailed, match="The undo failed"):
        lab.undo()
    lab.server.hooks.clear()
    if lab.journal() is not None:
        lab.undo()
    assert lab.state() == after
    lab.undo()


def test_a_restore_without_a_safety_copy_cannot_be_undone(lab: Lab) -> None:
    lab.make("docs", points_of(5))
    lab.back_up()
    lab.put("docs", points_of(2, seed=2))
    lab.restore(no_safety=True)
    with pytest.raises(NotUndoable, match="cannot be undone") as caught:
        lab.undo()
    assert "--no-safety" in caught.value.why


def test_a_safety_copy_that_is_gone_is_named(lab: Lab) -> None:
    lab.make("docs", points_of(5))
    lab.back_up()
    lab.put("docs", points_of(2, seed=2))
    report = lab.restore()
    shutil.rmtree(report.safety_path)
    with pytest.raises(NotUndoable, match="cannot be undone any more"):
        lab.undo()


def test_a_damaged_safety_copy_is_not_restored(lab: Lab) -> None:
    from qdrant_backup.errors import IntegrityFailed

    lab.make("docs", points_of(5))
    lab.back_up()
    lab.put("docs", points_of(2, seed=2))
    report = lab.restore()
    after = lab.state()
    snapshot = Path(report.safety_path) / "qdrant/docs.snapshot"
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 1
    snapshot.write_bytes(data)
    with pytest.raises(IntegrityFailed):
        lab.undo()
    assert lab.state() == after


class LyingClock(BriskClock):
    """A wall clock that can be set back."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.shift


def test_10_undo_follows_the_order_of_journals_and_not_their_dates(server: RunningServer, tmp_path: Path) -> None:
    clock = LyingClock()
    lab = Lab(server, tmp_path / "backups", tmp_path / "scratch", clock=clock)
    lab.make("docs", points_of(5))
    first = lab.back_up()
    lab.put("docs", points_of(2, seed=2))
    before_first = lab.state()
    lab.restore(first)
    lab.put("docs", points_of(1, seed=3, first=50))
    before_second = lab.state()
    clock.shift = timedelta(days=-30)
    lab.restore(first)
    lab.undo()
    assert lab.state() == before_second
    lab.call("POST", "/collections/docs/points/delete?wait=true", {"points": [p["id"] for p in points_of(1, first=50)]})
    lab.undo()
    assert lab.state() == before_first


def test_10_latest_never_means_a_safety_copy(lab: Lab) -> None:
    restored(lab)
    assert not lab.ports.directory.find("latest").is_safety


def test_undo_of_a_restore_that_failed_and_was_put_back_is_the_one_before(lab: Lab) -> None:
    lab.make("docs", points_of(5))
    lab.back_up()
    lab.put("docs", points_of(2, seed=2))
    before = lab.state()
    lab.restore()
    lab.server.hooks["upload_snapshot"] = upload_instead(b"garbage" * 1000)
    with pytest.raises(CollectionFailed):
        lab.restore()
    lab.server.hooks.clear()
    assert lab.journal() is None
    lab.undo()
    assert lab.state() == before


def test_another_server_is_refused(lab: Lab, tmp_path: Path) -> None:
    restored(lab)
    elsewhere = dataclasses.replace(lab.server._http.target, host="localhost")
    lab.server._http.target = elsewhere
    with pytest.raises(RefusedForSafety, match="Another server"):
        lab.undo()
