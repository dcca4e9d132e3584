"""Work beside the main thread: where no thread can be had, that is said as what it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdrant_backup.engine.engine import Engine
from qdrant_backup.engine.opened import ArchiveSource, Openings, Wanted
from qdrant_backup.errors import NotWritable, OperationFailed
from qdrant_backup.operations.ahead import one_ahead
from qdrant_backup.operations.aside import aside
from support.original_backup import unpack_original_backup


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_limit_on_threads_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OperationFailed, match="No thread can be started") as caught:
        aside(lambda: 1, "digest of docs")
    assert "can't start new thread" in caught.value.why


def test_nothing_is_fetched_ahead_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OperationFailed, match="No thread can be started for the reading of points"):
        next(one_ahead(iter([1, 2]), "reading of points"))


def test_what_fails_ahead_comes_out_when_it_is_asked_for() -> None:
    def pages() -> Iterator[int]:
        yield 1
        raise NotWritable("The disk is gone")

    found = one_ahead(pages(), "reading of points")

    assert next(found) == 1
    with pytest.raises(NotWritable, match="The disk is gone"):
        next(found)


def test_whoever_stops_early_goes_on_when_nobody_fetches_any_more() -> None:
    asked, answered, ended = threading.Event(), threading.Event(), threading.Event()

    def pages() -> Iterator[int]:
        yield 1
        asked.set()
        assert answered.wait(60)
        ended.set()
        yield 2

    found = one_ahead(pages(), "reading of points")
    assert next(found) == 1
    assert asked.wait(60)
    threading.Timer(0.05, answered.set).start()
    found.close()

    assert ended.is_set()


def test_no_backup_is_opened_without_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = unpack_original_backup(tmp_path / "original").snapshot("code-patterns")
    data = archive.read_bytes()
    source = ArchiveSource("code-patterns", "key", len(data), "", lambda: iter([data]))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with (
        pytest.raises(NotWritable, match="cannot be watched"),
        Openings(tmp_path / "cache").served([Wanted("code-patterns", source)], api_key=None),
    ):
        pytest.fail("it was opened")


def test_the_engine_does_not_start_without_its_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with (
        pytest.raises(NotWritable, match="does not start"),
        Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest"),
    ):
        pytest.fail("it started")
