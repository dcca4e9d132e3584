"""Intents: what a killed backup may have left on the server is on disk before it is there."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from qdrant_backup.errors import IntegrityFailed
from qdrant_backup.model import CollectionName
from qdrant_backup.storage.intents import IntentStore, SnapshotIntent, url_without_secrets

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 2, 3, 12, tzinfo=timezone.utc)


def intent_of(collection: str = "docs", hours: int = 0, url: str = "http://localhost:6333") -> SnapshotIntent:
    return SnapshotIntent(
        server_url=url,
        collection=CollectionName(collection),
        existing=("one.snapshot",),
        begun_at=NOON + timedelta(hours=hours),
        server_time=NOON,
    )


def test_an_intent_outlives_its_run_until_it_is_forgotten(tmp_path: Path) -> None:
    file = IntentStore(tmp_path).record(intent_of())
    assert IntentStore(tmp_path).pending() == [file]
    IntentStore(tmp_path).forget(file)
    IntentStore(tmp_path).forget(file)
    assert IntentStore(tmp_path).pending() == []


def test_without_a_backup_directory_nothing_is_pending(tmp_path: Path) -> None:
    assert IntentStore(tmp_path / "none").pending() == []


def test_the_oldest_intent_comes_first(tmp_path: Path) -> None:
    store = IntentStore(tmp_path)
    late, early = store.record(intent_of("late", 2)), store.record(intent_of("early", 1))
    assert store.pending() == [early, late]


def test_the_name_the_server_gave_is_kept(tmp_path: Path) -> None:
    store = IntentStore(tmp_path)
    store.answered(store.record(intent_of()), "docs-7.snapshot")
    assert [file.intent.snapshot for file in store.pending()] == ["docs-7.snapshot"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@host:6333/prefix?api-key=secret#secret", "http://host:6333/prefix"),
        ("https://secret@[::1]:6333", "https://[::1]:6333"),
        ("http://localhost:6333", "http://localhost:6333"),
    ],
)
def test_no_secret_of_the_url_reaches_the_disk(tmp_path: Path, url: str, shown: str) -> None:
    assert url_without_secrets(url) == shown
    IntentStore(tmp_path).record(intent_of(url=url))
    [path] = (tmp_path / ".intents").iterdir()
    assert b"secret" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_intent_is_named(tmp_path: Path) -> None:
    IntentStore(tmp_path).record(intent_of())
    [path] = (tmp_path / ".intents").iterdir()
    path.write_bytes(b"{")
    with pytest.raises(IntegrityFailed, match=path.name):
        IntentStore(tmp_path).pending()
