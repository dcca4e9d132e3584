"""A drill on a server restores into scratch collections, compares, and leaves the server exactly as it was."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.errors import (
    ConnectionFailed,
    Incompatible,
    InsufficientSpace,
    IntegrityFailed,
    Interrupted,
    Locked,
    RefusedForSafety,
    ServerRefused,
)
from qdrant_backup.manifest import ServerEntry
from qdrant_backup.operations.drill.record import Asked, record
from qdrant_backup.operations.drill.report import DrillReport, Outcome
from qdrant_backup.operations.drill.run import drill
from qdrant_backup.operations.looking.opening import open_backups
from qdrant_backup.storage.catalogue import CatalogueEntry, CatalogueFile, Level
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.stored import StoredBackup
from support.damaged import republished
from support.restoring import Lab, archive_bytes, named_config, points_of, poisoned, upload_instead
from support.servers import RunningServer

INDEXES = {"group": "keyword", "rank": {"type": "integer", "lookup": True, "range": True}}


def known(lab: Lab, backup: StoredBackup) -> CatalogueEntry:
    return CatalogueFile(lab.root).read().entry(backup)


def everything(lab: Lab) -> dict[str, Any]:
    """All that a drill must leave as it is: collections, contents, configs, indexes, aliases, snapshots."""
    return {**lab.state(), "snapshots": lab.left_on_server()}


def outcome(report: DrillReport, name: str) -> list[Outcome]:
    return [check.outcome for check in report.checks if check.name == name]


def require_nothing_left(lab: Lab, before: dict[str, Any]) -> None:
    assert everything(lab) == before
    assert list(lab.root.glob(".drills/*")) == []
    assert list(lab.root.glob(".intents/*")) == []
    assert lab.journal() is None


def test_a_good_backup_is_proven_by_a_restore_and_nothing_is_left(lab: Lab) -> None:
    lab.make("discussions", points_of(30, named=True), named_config(), INDEXES)
    lab.make("conventions", points_of(12, seed=2), {"vectors": {"size": 4, "distance": "Cosine"}, "shard_number": 2})
    lab.alias("talk", "discussions")
    # Somebody's own, of a name that looks like ours.
    lab.make("__drill_0123456789abcdef_1", points_of(3))
    lab.call("POST", "/collections/conventions/snapshots?wait=true")
    made = lab.back_up("discussions", "conventions")
    with open_backups(lab.ports, [(made, None)]) as opened:
        record(opened, [Asked(words="memory 3"), Asked(like=3, using="text")], lab.ports)
    before = everything(lab)

    report = drill(made, lab.ports, on_server=True)

    assert report.passed, report.checks
    assert {check.outcome for check in report.checks if check.name != "aliases"} == {Outcome.PASSED}, report.checks
    for name in ("restore", "counts", "digest", "config", "indexes", "shards"):
        assert outcome(report, name) == [Outcome.PASSED] * 2, name
    assert len(outcome(report, "golden")) == 3
    assert len(outcome(report, "golden-index")) == 1
    require_nothing_left(lab, before)
    entry = known(lab, made)
    assert entry.level is Level.DRILL
    assert entry.restored is not None
    assert entry.restored.server == lab.running.url
    # A later drill in the embedded engine takes nothing of that back.
    assert drill(made, lab.ports).passed
    restorable = known(lab, made).restorable
    assert restorable is not None
    assert restorable.server == lab.running.url
    assert [args[0] for args in lab.server.calls("delete_collection")] == [
        args[0] for args in lab.server.calls("upload_snapshot")
    ]


def test_other_points_than_the_backups_are_found_where_they_are_restored(lab: Lab) -> None:
    lab.make("docs", points_of(9))
    full = lab.back_up()
    lab.call("POST", "/collections/docs/points/delete?wait=true", {"points": [3]})
    less = lab.back_up()
    lab.server.hooks["upload_snapshot"] = upload_instead(archive_bytes(less, "docs"))
    before = everything(lab)

    report = drill(full, lab.ports, on_server=True)

    assert outcome(report, "digest") == outcome(report, "counts") == [Outcome.FAILED]
    assert not report.is_damaged
    with pytest.raises(IntegrityFailed):
        report.raise_for_outcome()
    require_nothing_left(lab, before)
    assert known(lab, full).level is Level.CONTENT
    assert known(lab, full).restorable is None


def test_a_backup_that_the_server_does_not_take_has_failed_its_drill(lab: Lab) -> None:
    lab.make("docs", points_of(9))
    lab.make("other", points_of(3))
    made = lab.back_up()
    bad = upload_instead(poisoned(archive_bytes(made, "docs")))

    def first(real: Callable[..., Any], name: str, **options: Any) -> Any:
        del lab.server.hooks["upload_snapshot"]
        return bad(real, name, **options)

    lab.server.hooks["upload_snapshot"] = first
    before = everything(lab)

    report = drill(made, lab.ports, on_server=True)

    assert outcome(report, "restore") == [Outcome.FAILED, Outcome.PASSED]
    require_nothing_left(lab, before)


def test_damaged_bytes_never_reach_the_server(embedded: Lab) -> None:
    embedded.make("docs", points_of(9))
    made = embedded.back_up()
    path = made.path / made.manifest.collections["docs"].snapshot
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    report = drill(made, embedded.ports, on_server=True)

    assert outcome(report, "files") == [Outcome.FAILED]
    assert report.is_damaged
    assert embedded.server.calls("upload_snapshot") == []
    assert known(embedded, made).level is None


def test_a_full_disk_of_the_server_is_no_fault_of_the_backup(embedded: Lab) -> None:
    embedded.make("docs", points_of(9))
    made = embedded.back_up()

    def full(*_: Any, **__: Any) -> None:
        raise ServerRefused("could not upload", status=500, why="No space left on device")

    embedded.server.hooks["upload_snapshot"] = full
    before = everything(embedded)

    with pytest.raises(InsufficientSpace):
        drill(made, embedded.ports, on_server=True)

    require_nothing_left(embedded, before)
    assert known(embedded, made).level is Level.CONTENT


@pytest.mark.parametrize("step", ["upload_snapshot", "delete_collection"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_cleans_up_and_proves_nothing(lab: Lab, step: str, when: str) -> None:
    lab.make("docs", points_of(9), indexes=INDEXES)
    made = lab.back_up()
    before = everything(lab)

    def interrupted(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        del lab.server.hooks[step]
        if when == "after":
            real(*args, **options)
        raise Interrupted(2)

    lab.server.hooks[step] = interrupted
    with pytest.raises(Interrupted):
        drill(made, lab.ports, on_server=True)

    require_nothing_left(lab, before)
    assert known(lab, made).level is Level.CONTENT


def test_an_interrupt_while_the_restored_points_are_read_cleans_up(lab: Lab) -> None:
    lab.make("docs", points_of(9))
    made = lab.back_up()
    before = everything(lab)

    with pytest.raises(Interrupted):
        drill(made, dataclasses.replace(lab.ports, progress=StopsAt("Downloading")), on_server=True)

    require_nothing_left(lab, before)
    assert known(lab, made).level is Level.CONTENT


class StopsAt:
    """Progress at which a signal arrives."""

    def __init__(self, task: str) -> None:
        self._task = task

    def begin(self, task: str, total_bytes: int | None) -> None:
        if task.startswith(self._task):
            raise Interrupted(2)

    def advance(self, size_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def end(self) -> None:
        pass


def test_a_connection_that_breaks_proves_nothing_and_the_next_drill_cleans(lab: Lab) -> None:
    lab.make("docs", points_of(9))
    made = lab.back_up()
    before = everything(lab)

    def refused(*_: Any, **__: Any) -> None:
        raise ServerRefused("could not delete", status=500, why="out of order")

    def broken(real: Callable[..., Any], *args: Any, **options: Any) -> None:
        real(*args, **options)
        raise ConnectionFailed("could not upload", why="it broke")

    lab.server.hooks |= {"upload_snapshot": broken, "delete_collection": refused}

    with pytest.raises(ConnectionFailed):
        drill(made, lab.ports, on_server=True)

    [left] = [name for name in lab.state() if name.startswith("__drill_")]
    assert left in lab.told.warnings
    assert lab.running.url in lab.told.warnings
    assert len(list(lab.root.glob(".drills/*"))) == 1
    assert known(lab, made).level is Level.CONTENT
    # Who backs up in between does not get it into the backup, unless it is named.
    assert list(lab.back_up().manifest.collections) == ["docs"]
    assert list(lab.back_up(left).manifest.collections) == [left]

    lab.server.hooks.clear()
    assert drill(made, lab.ports, on_server=True).passed
    require_nothing_left(lab, before)


def test_what_a_drill_left_on_another_server_is_named_and_kept_in_mind(
    embedded: Lab, fresh_embedded: RunningServer
) -> None:
    embedded.make("docs", points_of(9))
    made = embedded.back_up()

    def refused(*_: Any, **__: Any) -> None:
        raise ServerRefused("could not delete", status=500, why="out of order")

    embedded.server.hooks["delete_collection"] = refused
    with pytest.raises(ServerRefused):
        drill(made, embedded.ports, on_server=True)
    elsewhere = Lab(fresh_embedded, embedded.root, embedded.scratch)

    assert drill(made, elsewhere.ports, on_server=True).passed

    assert embedded.running.url in elsewhere.told.warnings
    assert len(list(embedded.root.glob(".drills/*"))) == 1


def test_a_damaged_note_of_a_drill_is_named_and_in_nobodys_way(embedded: Lab) -> None:
    embedded.make("docs", points_of(9))
    made = embedded.back_up()
    notes = embedded.root / ".drills"
    notes.mkdir()
    (notes / "2026-02-03_143052-0123.json").write_text("{")

    assert drill(made, embedded.ports, on_server=True).passed
    assert "2026-02-03_143052-0123.json" in embedded.told.warnings


def test_a_name_that_exists_is_never_taken(lab: Lab) -> None:
    lab.make("docs", points_of(9))
    lab.make("__drill_" + "a" * 16 + "_1", points_of(3))
    lab.make("target", [])
    lab.alias("__drill_" + "b" * 16 + "_1", "target")
    made = lab.back_up("docs")
    before = everything(lab)
    tokens = itertools.chain(["a" * 24, "b" * 24], itertools.repeat("c" * 24))
    ports = dataclasses.replace(lab.ports, token=lambda: next(tokens))

    assert drill(made, ports, on_server=True).passed

    assert [args[0] for args in lab.server.calls("upload_snapshot")] == ["__drill_" + "c" * 16 + "_1"]
    require_nothing_left(lab, before)
    with pytest.raises(RefusedForSafety):
        drill(made, dataclasses.replace(lab.ports, token=lambda: "a" * 24), on_server=True)
    require_nothing_left(lab, before)


def test_a_name_that_appears_meanwhile_is_left_alone(embedded: Lab) -> None:
    embedded.make("docs", points_of(9))
    made = embedded.back_up()
    name = "__drill_" + "d" * 16 + "_1"

    def beside(event: object) -> None:
        # Told when the server has been looked at, and before anything is uploaded.
        if type(event).__name__ == "Connected":
            embedded.make(name, points_of(2, seed=5))

    ports = dataclasses.replace(embedded.ports, token=lambda: "d" * 24, tell=beside)
    with pytest.raises(RefusedForSafety):
        drill(made, ports, on_server=True)

    assert len(embedded.content(name)) == 2
    assert embedded.server.calls("delete_collection") == []


def test_a_version_that_does_not_fit_is_refused_before_anything_is_uploaded(embedded: Lab, tmp_path: Path) -> None:
    embedded.make("docs", points_of(3))
    old = republished(embedded.back_up(), tmp_path / "old", {}, server=ServerEntry(version="1.12.0"))
    before = everything(embedded)

    with pytest.raises(Incompatible):
        drill(old, embedded.ports, on_server=True)

    require_nothing_left(embedded, before)
    assert embedded.server.calls("upload_snapshot") == []


def test_another_run_in_the_backup_directory_keeps_a_drill_on_a_server_out(embedded: Lab) -> None:
    embedded.make("docs", points_of(3))
    made = embedded.back_up()

    with DirectoryLock(embedded.root, embedded.clock, "backup"), pytest.raises(Locked):
        drill(made, embedded.ports, on_server=True)
