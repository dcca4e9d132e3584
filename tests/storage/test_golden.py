"""The golden queries' file: private, replaced in one step, never taken for something else."""

from __future__ import annotations

import stat
from datetime import datetime, timezone
from pathlib import Path

import pytest
from msgspec import structs

from qdrant_backup.errors import Incompatible, IntegrityFailed
from qdrant_backup.model import BackupId, CollectionName
from qdrant_backup.storage.golden import Golden, GoldenAnswer, GoldenFile, GoldenQuery

QUERY = GoldenQuery(
    id="0123abcd",
    collection=CollectionName("docs"),
    backup_id=BackupId("2026-02-03_143052"),
    recorded_at=datetime(2026, 2, 3, tzinfo=timezone.utc),
    answers=(GoldenAnswer(id=7, score=0.1, fingerprint="00"),),
    limit=10,
    vector=[0.1, 0.2],
)


def test_what_was_written_is_read_and_nobody_else_may(tmp_path: Path):
    assert GoldenFile(tmp_path).read() == Golden()
    golden = Golden().with_queries([QUERY])
    GoldenFile(tmp_path).write(golden)

    assert GoldenFile(tmp_path).read() == golden
    assert stat.S_IMODE((tmp_path / ".golden.json").stat().st_mode) == 0o600


def test_recording_the_same_again_replaces_it_and_forgetting_takes_only_what_was_named():
    other = structs.replace(QUERY, id="other", limit=3)
    golden = Golden().with_queries([QUERY, other])
    again = structs.replace(QUERY, limit=2)

    assert [(one.id, one.limit) for one in golden.with_queries([again]).queries] == [("0123abcd", 2), ("other", 3)]
    assert golden.without(frozenset({"0123abcd"})).queries == (other,)


@pytest.mark.parametrize("text", ["", "{", '{"queries": [{}]}', "[]", b"\xff\xfe".decode("latin-1")])
def test_a_damaged_file_is_called_damaged(tmp_path: Path, text: str):
    (tmp_path / ".golden.json").write_text(text, "latin-1")

    with pytest.raises(IntegrityFailed, match="damaged"):
        GoldenFile(tmp_path).read()


def test_a_newer_file_is_called_newer(tmp_path: Path):
    (tmp_path / ".golden.json").write_text('{"sha256": "?", "document": {"format": 2, "queries": "new"}}')

    with pytest.raises(Incompatible):
        GoldenFile(tmp_path).read()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / ".golden.json").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(IntegrityFailed):
        GoldenFile(tmp_path).read()
