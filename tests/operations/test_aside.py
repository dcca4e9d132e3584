"""Work beside the main thread: where no thread can be had, that is said as what it is."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from qdrant_backup.cli import exits
from qdrant_backup.engine.engine import Engine
from qdrant_backup.engine.opened import ArchiveSource, Openings, Wanted
from qdrant_backup.errors import Interrupted, NotWritable, OperationFailed
from qdrant_backup.hashing import HashBeside
from qdrant_backup.operations.ahead import one_ahead
from qdrant_backup.operations.aside import aside
from support.original_backup import unpack_original_backup


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def interrupt(_: threading.Thread) -> None:
    """What a signal makes of `threading.Condition.wait` when it comes right behind `_release_save()`."""
    lock = threading.Lock()
    with lock:
        lock.release()
        raise Interrupted(signal.SIGHUP)


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


def test_whoever_stops_early_goes_on_when_nobody_fetches_for_the_fetching_one_either() -> None:
    asked, answered, ended = threading.Event(), threading.Event(), threading.Event()

    def pages() -> Iterator[int]:
        yield 1
        yield 2
        asked.set()
        assert answered.wait(60)
        ended.set()
        yield 3

    def doubled() -> Iterator[int]:
        for page in one_ahead(pages(), "reading of points"):
            yield 2 * page

    outer = doubled()
    found = one_ahead(outer, "doubling")
    assert next(found) == 2
    assert asked.wait(60)
    threading.Timer(0.05, answered.set).start()
    found.close()

    assert ended.is_set()
    assert list(outer) == []


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


def test_a_signal_is_not_lost_while_a_thread_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threading.Thread, "start", interrupt)
    with pytest.raises(Interrupted):
        aside(lambda: 1, "digest of docs")
    with pytest.raises(Interrupted), Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest"):
        pytest.fail("it started")
    with contextlib.closing(HashBeside()) as hashed, pytest.raises(Interrupted):
        hashed.update(bytes(1 << 20))


def test_a_signal_that_a_lock_has_hidden_ends_the_program_as_a_signal_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = exits.run(click.Command("wait", callback=lambda: interrupt(threading.current_thread())), [], tmp_path)

    assert code == 128 + signal.SIGHUP
    assert "Interrupted" in capsys.readouterr().err


def test_the_engine_does_not_start_without_its_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with (
        pytest.raises(NotWritable, match="does not start"),
        Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest"),
    ):
        pytest.fail("it started")
