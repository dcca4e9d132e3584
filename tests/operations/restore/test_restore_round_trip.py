"""A restore brings back exactly what the backup held, and leaves nothing on the server."""

from __future__ import annotations

import json

import pytest

from qdrant_backup.operations.events import (
    AliasRestored,
    CollectionRecovered,
    Connected,
    ManifestChecked,
    RestoreBegun,
    SafetyBegun,
    SnapshotChecked,
    SnapshotUploaded,
)
from qdrant_backup.operations.restore.outcome import Outcome
from support.restoring import Lab, named_config, path_of, points_of

INDEXES = {
    "group": {"type": "keyword", "is_tenant": True},
    "text": {"type": "text", "tokenizer": "word", "min_token_len": 2, "max_token_len": 20},
    "rank": "integer",
}


def test_what_was_deleted_comes_back_with_vectors_config_indexes_and_aliases(lab: Lab) -> None:
    lab.make("Ümläut und Leerzeichen", points_of(40, named=True), named_config(), INDEXES)
    lab.make("empty", [])
    lab.alias("live", "Ümläut und Leerzeichen")
    before = lab.state()
    lab.back_up()
    lab.delete("Ümläut und Leerzeichen")
    lab.delete("empty")
    report = lab.restore()
    assert lab.state() == before
    assert {target.outcome for target in report.targets} == {Outcome.NEW}
    assert report.aliases == (("live", "Ümläut und Leerzeichen"),)
    assert report.records == 40
    assert lab.left_on_server() == []
    assert lab.journal() is None


def test_changed_content_becomes_the_backups_and_the_target_keeps_its_tuning(lab: Lab) -> None:
    lab.make("docs", points_of(30), indexes={"rank": "integer"})
    before = lab.state()["docs"]
    lab.back_up()
    lab.put("docs", points_of(10, seed=2, first=25))
    lab.call("POST", path_of("docs", "points/delete?wait=true"), {"points": [1, 3, 5]})
    lab.call("PATCH", path_of("docs"), {"hnsw_config": {"m": 24}})
    lab.call("DELETE", path_of("docs", "index", "rank?wait=true"))
    report = lab.restore()
    after = lab.state()["docs"]
    assert after["content"] == before["content"]
    assert after["schema"] == before["schema"]
    assert after["config"]["hnsw_config"]["m"] == 24
    assert report.safety_path
    assert lab.left_on_server() == []


def test_replace_brings_back_the_config_as_well_and_keeps_the_targets_aliases(lab: Lab) -> None:
    lab.make("docs", points_of(30), indexes={"rank": "integer"})
    before = lab.state()["docs"]
    lab.back_up()
    lab.delete("docs")
    lab.make("docs", [], {"vectors": {"size": 7, "distance": "Dot"}}, {"foreign": "keyword"})
    lab.alias("mine", "docs")
    lab.restore(replace=True)
    assert lab.state()["docs"] == before
    assert lab.aliases() == {"mine": "docs"}


def test_one_collection_under_another_name_leaves_the_others_alone(lab: Lab) -> None:
    lab.make("docs", points_of(12))
    lab.make("other", points_of(5, seed=3))
    lab.alias("live", "docs")
    before = lab.state()
    lab.back_up()
    report = lab.restore(collections=("docs",), rename={"docs": "docs-then"})
    after = lab.state()
    assert after.pop("docs-then") == before["docs"]
    assert after == before
    assert [target.target for target in report.targets] == ["docs-then"]
    assert not report.safety_path


def test_the_events_come_in_the_guides_order(lab: Lab) -> None:
    lab.make("docs", points_of(12))
    lab.alias("live", "docs")
    lab.back_up()
    lab.call("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "live"}}]})
    lab.told.events.clear()
    lab.restore()
    kinds = [
        ManifestChecked,
        SnapshotChecked,
        Connected,
        SafetyBegun,
        RestoreBegun,
        SnapshotUploaded,
        CollectionRecovered,
        AliasRestored,
    ]
    order = [kind for kind in (type(event) for event in lab.told.events) if kind in kinds]
    assert order == kinds


def test_the_collection_is_never_created_beforehand_and_recovered_once(lab: Lab) -> None:
    lab.make("docs", points_of(12))
    lab.back_up()
    lab.delete("docs")
    lab.restore()
    assert lab.server.calls("create_collection") == []
    assert len(lab.server.calls("upload_snapshot")) == 1


def test_the_upload_has_a_random_name_that_is_gone_afterwards(lab: Lab) -> None:
    lab.make("docs", points_of(12))
    lab.back_up()
    names: list[str] = []

    def watch(real, name, **options):
        names.append(options["snapshot_name"])
        return real(name, **options)

    lab.server.hooks["upload_snapshot"] = watch
    lab.call("POST", path_of("docs", "snapshots"))
    theirs = lab.left_on_server()
    lab.restore()
    lab.restore()
    assert len(set(names)) == 2
    assert all(name.startswith("qdrant-backup-") for name in names)
    assert lab.left_on_server() == theirs


def test_the_plan_is_a_document_with_everything_in_it(lab: Lab) -> None:
    from qdrant_backup.operations.restore.plan import plan_lines, to_json
    from qdrant_backup.operations.restore.requests import RestoreRequest
    from qdrant_backup.operations.restore.run import prepare

    lab.make("docs", points_of(12), indexes={"rank": "integer"})
    lab.alias("live", "docs")
    lab.back_up()
    lab.call("DELETE", path_of("docs", "index", "rank?wait=true"))
    lab.call("PATCH", path_of("docs"), {"hnsw_config": {"m": 24}})
    lab.call("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "live"}}]})
    before = lab.state()
    _, plan = prepare(RestoreRequest("latest"), lab.ports)
    shown = json.loads(to_json(plan))
    assert shown["targets"][0]["action"] == "overwrite"
    assert shown["targets"][0]["records"] == 12
    assert shown["targets"][0]["live_records"] == 12
    assert list(shown["targets"][0]["indexes"]["missing"]) == ["rank"]
    assert [(each["field"], each["blocking"]) for each in shown["targets"][0]["differences"]] == [
        ("hnsw_config.m", False)
    ]
    assert shown["aliases"] == [{"alias": "live", "target": "docs", "previously": None}]
    assert shown["safety"] == ["docs"]
    assert shown["version"]["verdict"] == "fits"
    assert shown["blockers"] == []
    assert any("overwrite docs" in line for line in plan_lines(plan))
    assert lab.state() == before
    assert lab.safety_copies() == []


@pytest.mark.parametrize("shards", [3])
def test_several_shards_round_trip(lab: Lab, shards: int) -> None:
    lab.make("docs", points_of(60), {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": shards})
    before = lab.state()
    lab.back_up()
    lab.put("docs", points_of(20, seed=9, first=50))
    lab.restore()
    assert lab.state() == before
