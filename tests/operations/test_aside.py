"""Work beside the main thread: where no thread can be had, that is said as what it is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from qdrant_backup.engine.engine import Engine
from qdrant_backup.errors import NotWritable, OperationFailed
from qdrant_backup.operations.aside import aside


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_limit_on_threads_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OperationFailed, match="No thread can be started") as caught:
        aside(lambda: 1, "digest of docs")
    assert "can't start new thread" in caught.value.why


def test_the_engine_does_not_start_without_its_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with (
        pytest.raises(NotWritable, match="does not start"),
        Engine(scratch=tmp_path / "scratch").open_digest(tmp_path / "digest"),
    ):
        pytest.fail("it started")
