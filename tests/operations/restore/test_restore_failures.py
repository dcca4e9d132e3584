"""A restore that fails, at whichever step, puts everything back and says what each collection holds."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.clock import SystemClock
from qdrant_backup.errors import CollectionFailed, ConnectionFailed, Interrupted, Locked, ServerRefused
from qdrant_backup.qdrant.failures import Unanswered
from support.restoring import (
    Lab,
    archive_bytes,
    named_config,
    path_of,
    points_of,
    poisoned,
    upload_instead,
)
from support.servers import RunningServer

INDEXES = {"group": "keyword", "rank": {"type": "integer", "lookup": True, "range": True}}


def two_changed(lab: Lab) -> dict[str, Any]:
    """A backup of two collections, both changed since, and a third that was deleted; with aliases."""
    lab.make("a", points_of(20), indexes=INDEXES)
    lab.make("b", points_of(20, named=True), named_config(), INDEXES)
    lab.make("c", points_of(5))
    lab.alias("live", "a")
    lab.alias("gone", "c")
    lab.back_up()
    lab.put("a", points_of(10, seed=2, first=15))
    lab.put("b", points_of(10, seed=2, named=True, first=15))
    lab.delete("c")
    lab.alias("live", "b")
    lab.index("b", "foreign", "float")
    return lab.state()


def require_put_back(lab: Lab, before: dict[str, Any]) -> None:
    assert lab.state() == before
    assert lab.left_on_server() == []
    assert lab.journal() is None


@pytest.mark.fault("Q10")
def test_an_upload_that_is_cut_on_the_second_collection_puts_the_first_back(lab: Lab) -> None:
    before = two_changed(lab)

    def cut(real: Callable[..., Any], name: str, **options: Any) -> Any:
        if name != "b" or cut_once:
            return real(name, **options)
        cut_once.append(name)
        chunks = options.pop("chunks")

        def half() -> Any:
            yield next(iter(chunks()))[:2000]
            raise ConnectionFailed("the network broke")

        return real(name, chunks=half, **options)

    cut_once: list[str] = []
    lab.server.hooks["upload_snapshot"] = cut
    with pytest.raises(CollectionFailed, match="The restore failed at b") as caught:
        lab.restore()
    assert "the network broke" in str(caught.value)
    assert dict(caught.value.outcomes) == {"a": "previous content", "b": "untouched", "c": "untouched"}
    assert lab.told.outcomes == dict(caught.value.outcomes)
    require_put_back(lab, before)


@pytest.mark.fault("Q07")
def test_a_server_that_drops_the_old_data_and_fails_gets_its_previous_content_back(lab: Lab) -> None:
    before = two_changed(lab)
    strikes = [upload_instead(poisoned, "b")]

    def once(real: Callable[..., Any], name: str, **options: Any) -> Any:
        if name == "b" and strikes:
            return strikes.pop()(real, name, **options)
        return real(name, **options)

    lab.server.hooks["upload_snapshot"] = once
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    assert caught.value.codes.restore == 4
    assert dict(caught.value.outcomes)["b"] == "previous content"
    require_put_back(lab, before)


@pytest.mark.fault("Q06")
def test_points_that_are_silently_missing_after_a_200_are_noticed_and_counted(lab: Lab) -> None:
    before = two_changed(lab)
    few = Lab(lab.running, lab.root.parent / "few", lab.scratch / "few")
    few.make("few", points_of(17), indexes=INDEXES)
    archive = archive_bytes(few.back_up("few"), "few")
    few.delete("few")
    strikes = [1]

    def lossy(real: Callable[..., Any], name: str, **options: Any) -> Any:
        if name == "a" and strikes:
            strikes.clear()
            return upload_instead(archive)(real, name, **options)
        return real(name, **options)

    lab.server.hooks["upload_snapshot"] = lossy
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    assert "17 points are there, the backup has 20; 3 points differ" in str(caught.value)
    require_put_back(lab, before)


def test_a_collection_that_did_not_exist_is_gone_again(lab: Lab) -> None:
    before = two_changed(lab)
    moved: list[str] = []

    def refuse(real: Callable[..., Any], alias: str, collection: str) -> None:
        if alias == "live" and not moved:
            moved.append(alias)
            raise ServerRefused("no", status=500, why="the alias table is locked")
        real(alias, collection)

    lab.server.hooks["create_alias"] = refuse
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    assert dict(caught.value.outcomes)["c"] == "gone"
    require_put_back(lab, before)


@pytest.mark.fault("Q13")
def test_an_index_that_the_server_does_not_recreate_fails_the_restore(lab: Lab) -> None:
    before = two_changed(lab)
    lab.call("DELETE", path_of("a", "index", "rank?wait=true"))
    before = lab.state()
    refused: list[str] = []

    def refuse(real: Callable[..., Any], name: str, field: str, schema: Any) -> None:
        if name == "a" and not refused:
            refused.append(field)
            lab.call("DELETE", path_of("a", "index", f"{field}?wait=true"))
            return
        real(name, field, schema)

    lab.server.hooks["create_payload_index"] = refuse
    with pytest.raises(CollectionFailed, match="payload indexes") as caught:
        lab.restore()
    assert "rank" in str(caught.value)
    require_put_back(lab, before)


def test_an_interrupt_puts_everything_back_and_stays_an_interrupt(lab: Lab) -> None:
    before = two_changed(lab)

    def interrupted(real: Callable[..., Any], name: str, **options: Any) -> Any:
        real(name, **options)
        if name == "b" and not struck:
            struck.append(name)
            raise Interrupted(15)

    struck: list[str] = []
    lab.server.hooks["upload_snapshot"] = interrupted
    with pytest.raises(Interrupted):
        lab.restore()
    assert lab.told.outcomes["b"] == "previous content"
    require_put_back(lab, before)


def test_a_failed_replace_brings_back_the_config_that_was_dropped(lab: Lab) -> None:
    lab.make("docs", points_of(20), indexes=INDEXES)
    lab.back_up()
    lab.delete("docs")
    other = {**named_config(), "metadata": {"owner": "me"}} if lab.running.kind == "real" else named_config()
    lab.make("docs", points_of(11, named=True), other, {"foreign": "keyword"})
    lab.alias("mine", "docs")
    before = lab.state()
    strikes = [1]

    def fail(real: Callable[..., Any], name: str, **options: Any) -> Any:
        if strikes:
            strikes.clear()
            raise ServerRefused("no", status=500, why="out of luck")
        return real(name, **options)

    lab.server.hooks["upload_snapshot"] = fail
    with pytest.raises(CollectionFailed, match="out of luck"):
        lab.restore(replace=True)
    require_put_back(lab, before)


def not_restored(lab: Lab) -> CollectionFailed:
    """Every upload is garbage, so the roll-back fails like the restore."""
    lab.server.hooks["upload_snapshot"] = upload_instead(poisoned)
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    lab.server.hooks.clear()
    return caught.value


@pytest.mark.fault("Q08")
def test_a_roll_back_that_fails_too_says_where_the_content_is_and_what_to_type(lab: Lab) -> None:
    two_changed(lab)
    error = not_restored(lab)
    assert dict(error.outcomes) == {"a": "NOT RESTORED", "b": "untouched", "c": "untouched"}
    (safety,) = lab.safety_copies()
    assert str(safety.path) in error.advice
    assert f"qdrant-backup undo --yes --output {lab.root}" in error.advice
    journal = lab.journal()
    assert journal is not None
    assert journal.rolling_back


@pytest.mark.fault("Q08")
def test_a_later_undo_brings_everything_back_exactly(lab: Lab) -> None:
    before = two_changed(lab)
    not_restored(lab)
    report = lab.undo()
    assert {target.target: target.outcome.value for target in report.targets} == {
        "a": "previous content",
        "b": "untouched",
        "c": "untouched",
    }
    require_put_back(lab, before)


@pytest.mark.fault("Q08")
def test_an_undo_leaves_alone_what_the_roll_back_had_put_back(lab: Lab) -> None:
    before = two_changed(lab)

    def garbage_for_b(real: Callable[..., Any], name: str, **options: Any) -> Any:
        return upload_instead(poisoned, "b")(real, name, **options)

    lab.server.hooks["upload_snapshot"] = garbage_for_b
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    assert dict(caught.value.outcomes) == {"a": "previous content", "b": "NOT RESTORED", "c": "untouched"}
    lab.server.hooks.clear()
    lab.server.called.clear()
    lab.undo()
    assert {args[0] for args in lab.server.calls("upload_snapshot")} == {"b"}
    require_put_back(lab, before)


def test_a_proxy_that_limits_the_body_is_named_and_nothing_is_repeated(lab: Lab) -> None:
    before = two_changed(lab)

    def too_large(real: Callable[..., Any], name: str, **options: Any) -> Any:
        raise ServerRefused("could not upload", status=413, why="Request Entity Too Large")

    lab.server.hooks["upload_snapshot"] = too_large
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    assert "proxy" in caught.value.advice
    assert len(lab.server.calls("upload_snapshot")) == 1
    require_put_back(lab, before)


# The server dies ------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(fresh_server: RunningServer, tmp_path: Path) -> Lab:
    return Lab(fresh_server, tmp_path / "backups", tmp_path / "scratch", clock=SystemClock())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.fault("Q09")
def test_a_server_killed_around_the_upload_and_started_again(own: Lab, when: str) -> None:
    own.make("docs", points_of(20), indexes=INDEXES)
    backed_up = own.state()
    own.back_up()
    own.put("docs", points_of(10, seed=2, first=15))
    changed = own.state()

    def killed(real: Callable[..., Any], name: str, **options: Any) -> Any:
        own.server.hooks.clear()
        if when == "after":
            real(name, **options)
        own.running.kill()
        own.running.restart()
        raise Unanswered("no answer", why="the server was killed")

    own.server.hooks["upload_snapshot"] = killed
    if when == "after":
        own.restore()
        assert own.state() == backed_up
    else:
        with pytest.raises(CollectionFailed) as caught:
            own.restore()
        assert dict(caught.value.outcomes) == {"docs": "untouched"}
        assert own.state() == changed
    assert own.left_on_server() == []
    assert own.journal() is None


@pytest.mark.fault("Q09")
def test_a_server_that_never_comes_back_leaves_a_journal_that_undo_finishes(
    fresh_server: RunningServer, tmp_path: Path
) -> None:
    lab = Lab(fresh_server, tmp_path / "backups", tmp_path / "scratch", wait_s=2.0, clock=SystemClock())
    lab.server._http.target = dataclasses.replace(lab.server._http.target, silence_s=2.0)
    lab.make("docs", points_of(20), indexes=INDEXES)
    lab.back_up()
    lab.put("docs", points_of(10, seed=2, first=15))
    before = lab.state()

    def killed(real: Callable[..., Any], name: str, **options: Any) -> Any:
        lab.server.hooks.clear()
        real(name, **options)
        lab.running.kill()
        raise Unanswered("no answer", why="the server was killed")

    lab.server.hooks["upload_snapshot"] = killed
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    assert dict(caught.value.outcomes) == {"docs": "NOT RESTORED"}
    lab.running.restart()
    again = Lab(lab.running, lab.root, lab.scratch, clock=SystemClock())
    again.undo()
    require_put_back(again, before)


# The embedded server's own faults -------------------------------------------------------------------------------------

UPLOAD = "POST /collections/*/snapshots/upload"


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "fail_after_drop"},
        {"action": "lose_points", "points": 2},
        {"action": "status", "code": 500, "body": "out of luck"},
        {"action": "pretend"},
        {"action": "html"},
    ],
    ids=lambda fault: fault["action"],
)
@pytest.mark.fault("Q07")
def test_each_way_an_upload_can_fail_ends_with_the_previous_content(embedded: Lab, fault: dict[str, Any]) -> None:
    before = two_changed(embedded)
    embedded.running.script({"match": UPLOAD, "after": 3, "times": 1, **fault})  # three probes of rights come first
    with pytest.raises(CollectionFailed):
        embedded.restore()
    assert embedded.running.fired() == [1]
    require_put_back(embedded, before)


@pytest.mark.parametrize("action", ["no_answer", "reset"])
def test_an_answer_that_is_lost_is_waited_for_and_not_repeated(patient_embedded: Lab, action: str) -> None:
    patient_embedded.make("docs", points_of(20), indexes=INDEXES)
    before = patient_embedded.state()
    patient_embedded.back_up()
    patient_embedded.put("docs", points_of(10, seed=2, first=15))
    patient_embedded.running.script({"match": UPLOAD, "after": 1, "times": 1, "action": action})
    patient_embedded.restore()
    assert len(patient_embedded.server.calls("upload_snapshot")) == 1
    assert patient_embedded.running.fired() == [1]
    require_put_back(patient_embedded, before)


@pytest.mark.fault("Q13")
def test_indexes_that_the_recovery_lost_are_recreated(embedded: Lab) -> None:
    embedded.make("docs", points_of(20), indexes=INDEXES)
    before = embedded.state()
    embedded.back_up()
    embedded.delete("docs")
    embedded.running.script({"match": UPLOAD, "after": 1, "times": 1, "action": "drop_indexes"})
    embedded.restore()
    assert embedded.running.fired() == [1]
    require_put_back(embedded, before)


def test_a_lost_lock_stops_the_run_before_the_next_step(lab: Lab) -> None:
    two_changed(lab)

    def steal(real: Callable[..., Any], name: str, **options: Any) -> Any:
        real(name, **options)
        (lab.root / ".lock").unlink()

    lab.server.hooks["upload_snapshot"] = steal
    with pytest.raises(Locked):
        lab.restore()
    lab.server.hooks.clear()
    assert len(lab.server.calls("upload_snapshot")) == 1
    assert lab.journal() is not None
    with contextlib.suppress(FileNotFoundError):
        (lab.root / ".lock").unlink()
    lab.undo()
    assert lab.journal() is None
