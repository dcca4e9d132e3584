"""The manifest: the guide's keys, nothing lost, and nothing in it trusted."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdrant_backup import manifest as m
from qdrant_backup.errors import BackupInvalid, Incompatible, IntegrityFailed, QdrantBackupError

ENTRY = m.CollectionEntry(name="docs", records=3, snapshot_file="docs.snapshot", size_bytes=10, sha256="a" * 64)
MANIFEST = m.Manifest(
    backup_date="2026-02-03T14:30:52.123456+00:00",
    qdrant_host="localhost",
    qdrant_port=26350,
    collections={"docs": ENTRY},
    format=m.FORMAT,
    config_files=[".env"],
    files=[m.FileEntry(path="qdrant/docs.snapshot", size_bytes=10, sha256="a" * 64)],
)
ORIGINAL = {
    "backup_date": "2026-11-22T16:13:50.099916+00:00",
    "ai_memory_version": "2.0.2",
    "qdrant_host": "127.0.0.1",
    "qdrant_port": 26350,
    "collections": {
        "discussions": {"name": "discussions", "records": 42, "snapshot_file": "discussions.snapshot", "size_bytes": 9}
    },
    "config_files": ["settings.json", ".env"],
    "includes_logs": True,
}


def changed(**keys: object) -> bytes:
    return json.dumps(json.loads(m.encode(MANIFEST)) | keys).encode()


def test_what_was_written_is_read_back() -> None:
    assert m.decode(m.encode(MANIFEST)) == MANIFEST


def test_the_guide_s_keys_come_first_and_keep_their_names() -> None:
    keys = list(json.loads(m.encode(MANIFEST)))
    assert keys[: len(ORIGINAL)] == list(ORIGINAL)


def test_a_manifest_of_the_original_scripts_is_read_and_known_as_theirs() -> None:
    found = m.decode(json.dumps(ORIGINAL).encode())
    assert found.by_original_scripts
    assert found.records == 42
    assert found.finished == ORIGINAL["backup_date"]
    assert found.collections["discussions"].snapshot == "qdrant/discussions.snapshot"


def test_unknown_keys_survive_a_rewrite() -> None:
    found = m.decode(changed(colour="blue"))
    assert json.loads(m.encode(found))["colour"] == "blue"


def test_a_newer_format_is_refused_as_newer_before_anything_else_is_judged() -> None:
    with pytest.raises(Incompatible, match="format 99"):
        m.decode(b'{"format": 99, "collections": 5}')


@pytest.mark.parametrize("data", [b"", b" \n", b"{", b"[]", b"{}", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_manifest_is_an_invalid_backup(data: bytes) -> None:
    with pytest.raises(BackupInvalid):
        m.decode(data)


@pytest.mark.parametrize("path", ["../.env", "/etc/passwd", "a/../../b", "sub/docs.snapshot"])
def test_a_snapshot_file_that_is_not_beside_the_others_is_refused(path: str) -> None:
    entry = {"name": "docs", "records": 1, "snapshot_file": path, "size_bytes": 1}
    with pytest.raises(IntegrityFailed):
        m.decode(changed(collections={"docs": entry}))


@pytest.mark.parametrize("key", ["files", "config"])
def test_a_listed_path_that_climbs_is_refused(key: str) -> None:
    hostile = {"path": "../../x", "size_bytes": 1, "sha256": "a" * 64, "original": "x"}
    with pytest.raises(IntegrityFailed):
        m.decode(changed(**{key: [hostile]}))


def test_a_config_file_name_that_climbs_is_refused() -> None:
    with pytest.raises(IntegrityFailed):
        m.decode(changed(config_files=["../.env"]))


def test_a_collection_listed_under_another_name_is_refused() -> None:
    entry = {"name": "docs", "records": 1, "snapshot_file": "docs.snapshot", "size_bytes": 1}
    with pytest.raises(BackupInvalid):
        m.decode(changed(collections={"other": entry}))


def test_a_file_listed_twice_is_refused() -> None:
    file = {"path": "qdrant/a", "size_bytes": 1, "sha256": "a" * 64}
    with pytest.raises(BackupInvalid, match="twice"):
        m.decode(changed(files=[file, file]))


@given(st.binary(max_size=400), st.integers(0, 2000))
def test_damage_is_never_anything_but_an_error_of_ours(noise: bytes, at: int) -> None:
    data = m.encode(MANIFEST)
    damaged = data[: at % len(data)] + noise + data[at % len(data) + len(noise) :]
    with contextlib.suppress(QdrantBackupError):
        m.decode(damaged)
