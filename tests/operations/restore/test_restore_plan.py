"""What differs between a backup and a target, which versions fit, and how old a safety copy surely is: pure decisions."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from qdrant_backup.operations.expiry import witnessed_age
from qdrant_backup.operations.restore.differences import differences, index_changes, normal_config, version_verdict

BASE: dict[str, Any] = {
    "params": {
        "vectors": {"size": 4, "distance": "Cosine"},
        "shard_number": 1,
        "replication_factor": 1,
        "on_disk_payload": True,
    },
    "hnsw_config": {"m": 16, "ef_construct": 100},
    "optimizer_config": {"deleted_threshold": 0.2},
    "quantization_config": None,
}


def changed(path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split(".")
    copy: dict[str, Any] = {key: (dict(inner) if isinstance(inner, dict) else inner) for key, inner in BASE.items()}
    here = copy
    for parent in parents:
        here[parent] = dict(here.get(parent) or {})
        here = here[parent]
    here[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "blocking"),
    [
        ("params.vectors.size", 8, True),
        ("params.vectors.distance", "Dot", True),
        ("params.vectors.datatype", "float16", True),
        ("params.vectors.multivector_config", {"comparator": "max_sim"}, True),
        ("params.vectors", {"text": {"size": 4, "distance": "Cosine"}}, True),
        ("params.sparse_vectors", {"words": {}}, True),
        ("params.sparse_vectors", {"words": {"modifier": "idf"}}, True),
        ("params.shard_number", 2, True),
        ("params.sharding_method", "custom", True),
        ("params.vectors.on_disk", True, False),
        ("params.vectors.hnsw_config", {"m": 0}, False),
        ("params.replication_factor", 2, False),
        ("hnsw_config.m", 32, False),
        ("optimizer_config.deleted_threshold", 0.5, False),
        ("quantization_config", {"scalar": {"type": "int8"}}, False),
        ("strict_mode_config", {"enabled": True}, False),
        ("metadata", {"owner": "me"}, False),
    ],
)
@pytest.mark.fault("Q12")
def test_what_shapes_the_data_blocks_and_what_tunes_does_not(path: str, value: Any, blocking: bool) -> None:
    found = differences(BASE, changed(path, value))
    assert found
    assert any(each.blocking for each in found) is blocking
    assert differences(changed(path, value), changed(path, value)) == ()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("params.vectors.datatype", "float32"),
        ("params.sharding_method", "auto"),
        ("params.sparse_vectors", None),
        ("params.sparse_vectors", {}),
        ("uuid", "3f1e"),
        ("params.vectors.on_disk", None),
    ],
)
def test_a_default_and_an_absent_value_are_the_same(path: str, value: Any) -> None:
    assert differences(BASE, changed(path, value)) == ()


def test_normal_configs_are_equal_when_only_nulls_and_the_uuid_differ() -> None:
    assert normal_config(BASE) == normal_config({**BASE, "uuid": "x", "metadata": None})


def test_index_changes_reads_both_forms_of_a_schema() -> None:
    server = {
        "plain": {"data_type": "keyword", "points": 7},
        "tuned": {"data_type": "keyword", "params": {"type": "keyword", "is_tenant": True}, "points": 7},
        "foreign": {"data_type": "float", "points": 0},
    }
    archive = {"plain": "keyword", "tuned": {"type": "keyword"}, "new": {"type": "integer", "range": True}}
    found = index_changes(archive, server)
    assert found.missing == {"new": {"type": "integer", "range": True}}
    assert found.different == {"tuned": {"type": "keyword"}}
    assert found.foreign == ("foreign",)
    assert index_changes({"plain": {"type": "keyword"}}, {"plain": server["plain"]}).wanted_are_there


@pytest.mark.parametrize(
    ("backup", "server", "verdict"),
    [
        ("1.18.3", "1.18.0", "fits"),
        ("1.18.3", "1.19.0", "fits"),
        ("1.18.3", "1.20.1", "unfit"),
        ("1.19.0", "1.18.3", "unfit"),
        ("1.18.3", "2.0.0", "unfit"),
        ("1.9.7", "1.10.0", "fits"),
        ("", "1.18.3", "unknown"),
        ("1.18.3", "dev", "unknown"),
    ],
)
@pytest.mark.fault("Q11")
def test_a_backup_restores_on_the_same_or_the_next_minor_version(backup: str, server: str, verdict: str) -> None:
    assert version_verdict(backup, server).verdict == verdict


START = datetime(2026, 2, 3, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def test_10_days_count_when_something_ran_in_each_of_them() -> None:
    assert witnessed_age(START, [START + number * DAY for number in range(7)], START + 7 * DAY) == 7 * DAY


def test_10_a_clock_that_leapt_ahead_adds_one_day() -> None:
    assert witnessed_age(START, [], START + 5000 * DAY) == DAY
    assert witnessed_age(START, [START + 5000 * DAY], START + 5000 * DAY + DAY / 24) < 2 * DAY


def test_10_a_clock_that_went_back_adds_nothing() -> None:
    assert witnessed_age(START, [], START - DAY) == timedelta(0)
    seen = [START + number * DAY for number in range(30)]
    assert witnessed_age(START, seen, START + 20 * DAY) == timedelta(0)
