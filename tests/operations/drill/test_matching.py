"""What of a collection differs from its manifest is found, each by its own check."""

from __future__ import annotations

from typing import Any

import msgspec

from qdrant_backup.manifest import CollectionEntry, Manifest, ShardEntry
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.drill import matching
from qdrant_backup.operations.drill.report import Outcome

CONFIG: dict[str, Any] = {"params": {"vectors": {"size": 4, "distance": "Dot"}}, "hnsw_config": {"m": 16}}
SCHEMA = {"group": {"data_type": "keyword", "points": 3}}
ENTRY = CollectionEntry(
    name=CollectionName("docs"),
    records=3,
    snapshot_file="docs.snapshot",
    size_bytes=1,
    points=3,
    config=CONFIG,
    payload_schema=SCHEMA,
    shards=[ShardEntry(id=0), ShardEntry(id=1)],
)
BARE = msgspec.structs.replace(ENTRY, config={}, payload_schema={}, shards=[], points=None)


def test_points_are_counted():
    assert matching.count_check(ENTRY, 3).outcome is Outcome.PASSED
    assert matching.count_check(ENTRY, 2).outcome is Outcome.FAILED
    assert matching.count_check(BARE, 3).outcome is Outcome.PASSED
    assert matching.count_check(BARE, 4).outcome is Outcome.FAILED


def test_every_setting_counts_and_nulls_do_not():
    assert matching.config_check(ENTRY, {**CONFIG, "wal_config": None}).outcome is Outcome.PASSED
    check = matching.config_check(ENTRY, {**CONFIG, "hnsw_config": {"m": 8}})
    assert check.outcome is Outcome.FAILED
    assert "hnsw_config.m" in check.detail


def test_missing_and_other_indexes_fail_and_foreign_ones_warn():
    assert matching.index_check(ENTRY, {"group": "keyword"}).outcome is Outcome.PASSED
    assert matching.index_check(ENTRY, {}).outcome is Outcome.FAILED
    assert matching.index_check(ENTRY, {"group": "integer"}).outcome is Outcome.FAILED
    assert matching.index_check(ENTRY, {"group": "keyword", "rank": "integer"}).outcome is Outcome.WARNED


def test_shards_are_those_that_were_recorded():
    assert matching.shard_check(ENTRY, (1, 0)).outcome is Outcome.PASSED
    assert matching.shard_check(ENTRY, (0,)).outcome is Outcome.FAILED


def test_what_was_not_recorded_is_not_compared():
    checks = [matching.config_check(BARE, CONFIG), matching.index_check(BARE, SCHEMA), matching.shard_check(BARE, (0,))]
    assert {check.outcome for check in checks} == {Outcome.SKIPPED}


def test_aliases_lead_where_the_manifest_says():
    manifest = Manifest(
        backup_date="2026-02-03T12:00:00+00:00",
        qdrant_host="localhost",
        qdrant_port=6333,
        collections={CollectionName("docs"): ENTRY},
        aliases={"talk": CollectionName("docs"), "lost": CollectionName("elsewhere")},
    )
    assert matching.alias_check(manifest, "docs", {"talk": "docs"}).outcome is Outcome.PASSED
    assert matching.alias_check(manifest, "docs", {"talk": "other"}).outcome is Outcome.FAILED
    [dangling] = matching.dangling_aliases(manifest)
    assert dangling.outcome is Outcome.FAILED
    assert "lost" in dangling.detail
