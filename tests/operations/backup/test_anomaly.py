"""The anomaly brake: what looks like a loss is said, the last good backup is pinned, and nothing is pruned meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdrant_backup.operations.anomaly import suspects
from qdrant_backup.operations.listing import list_backups
from support.command import CommandLine
from support.contracts import matches
from support.restoring import Lab, path_of, points_of
from support.servers import RunningServer
from support.worlds import lab_at

NAME = "discussions"


@pytest.fixture
def lab(embedded_server: RunningServer, tmp_path: Path) -> Lab:
    return lab_at(embedded_server, tmp_path)


@pytest.fixture
def line(embedded_server: RunningServer, tmp_path: Path) -> CommandLine:
    return CommandLine.at(tmp_path, embedded_server)


def findings(lab: Lab) -> list[str]:
    """Of the newest backup, which is made now."""
    newest = lab.back_up()
    return [text for each in suspects(lab.ports) if each.backup_id == newest.backup_id for text in each.findings]


def emptied(lab: Lab, points: int) -> None:
    ids = [point["id"] for point in points_of(40)[:points]]
    lab.call("POST", path_of(NAME, "points/delete?wait=true"), {"points": ids})


@pytest.mark.fault("Q21")
def test_a_loss_is_said_pinned_and_pruning_waits_until_it_is_accepted(lab: Lab, line: CommandLine) -> None:
    lab.make(NAME, points_of(40))
    good = line.inside("backup", "--strict", "--json").ok().json["id"]
    emptied(lab, 15)

    bad = line.inside("backup", "--strict", "--json")
    assert bad.code == 11, bad
    assert any("15 of 40 points are gone (38%; more than 20% raises this)" in text for text in bad.json["warnings"])
    assert line.inside("backup", "--json").code == 0
    pinned = {entry.backup.backup_id: entry.pinned for entry in list_backups(lab.ports.directory).listed}
    assert pinned[good] == f"the last backup before an anomaly in {bad.json['id']}"
    shown = line.inside("anomaly", "list", "--json").ok().json
    matches("anomaly --json", shown)
    assert [(each["backup"], each["previous"], each["accepted"]) for each in shown] == [(bad.json["id"], good, False)]

    line.inside("prune", "--keep-days", "0", "--yes").failed(8, "looks like a loss", "anomaly accept")
    assert len(line.published()) == 3

    line.inside("anomaly", "accept", bad.json["id"]).ok()
    line.inside("anomaly", "accept", bad.json["id"]).failed(2, "accepted before")
    assert not any(entry.pinned for entry in list_backups(lab.ports.directory).listed)
    line.inside("prune", "--keep-days", "0", "--yes").ok()
    assert len(line.published()) < 3


def unindexed(lab: Lab) -> None:
    """Made anew from its points, as a careless import does: the schema is `{}`."""
    lab.delete(NAME)
    lab.make(NAME, points_of(40))


def zeroed(lab: Lab) -> None:
    lab.put(NAME, [{**point, "vector": [0, 0, 0, 0]} for point in points_of(40)[:24]])


def halved(lab: Lab) -> None:
    emptied(lab, 20)


def not_finite(lab: Lab) -> None:
    """What float32 has no room for arrives as infinity."""
    lab.put(NAME, [{**points_of(40)[0], "vector": [1e39, 0, 0, 1]}])


DEGRADED = {
    unindexed: f"{NAME}: the payload index of group is gone",
    zeroed: f"{NAME}: 24 of 40 points have an all-zero vector (60%; more than 20% raises this)",
    halved: f"{NAME}: 20 of 40 points are gone (50%; more than 20% raises this)",
    not_finite: f"{NAME}: 1 of 40 points have NaN or an infinity in their vector",
}


@pytest.mark.fault("Q21")
@pytest.mark.parametrize("degrade", DEGRADED, ids=lambda degrade: degrade.__name__)
def test_a_degraded_source_is_backed_up_and_said_loudly_and_holds_back_what_is_older(
    server: RunningServer, tmp_path: Path, degrade: Any
) -> None:
    lab, line = lab_at(server, tmp_path), CommandLine.at(tmp_path, server)
    lab.make(NAME, points_of(40), indexes={"group": "keyword"})
    kept = [line.inside("backup", "--json").ok().json["id"] for _ in range(2)]
    degrade(lab)

    ran = line.inside("backup", "--strict")
    degraded = line.published()[-1].name
    assert ran.code == 11, ran
    assert f"! ANOMALY: {DEGRADED[degrade]}" in ran.err
    assert f"{kept[1]} is kept, and prune waits" in ran.err
    line.inside("verify", degraded).ok()
    line.inside("backup", "--strict").ok()

    preview = line.inside("prune", "--keep-days", "0").ok().out
    assert f"  held   {kept[0]}" in preview
    assert "held back" in preview
    assert "--yes" not in preview
    assert DEGRADED[degrade] in preview
    assert f"`qdrant-backup anomaly accept {degraded}`" in preview
    told = line.inside("prune", "--keep-days", "0", "--json").ok().json
    matches("prune --json", told)
    assert [(each["backup"], each["previous"]) for each in told["waiting"]] == [(degraded, kept[1])]
    line.inside("prune", "--keep-days", "0", "--yes").failed(8, "looks like a loss")
    assert [path.name for path in line.published()][:2] == kept

    line.inside("anomaly", "accept", degraded).ok()
    assert line.inside("prune", "--keep-days", "0", "--json").ok().json["waiting"] == []
    assert "add --yes" in line.inside("prune", "--keep-days", "0").ok().out


def test_the_same_oddities_as_before_raise_nothing(lab: Lab) -> None:
    lab.make(NAME, points_of(40))
    zeroed(lab)
    not_finite(lab)
    lab.back_up()
    lab.put(NAME, points_of(1, first=100))

    assert findings(lab) == []


def test_ordinary_days_raise_nothing(lab: Lab) -> None:
    lab.make(NAME, points_of(40))
    lab.back_up()
    emptied(lab, 8)
    lab.put(NAME, points_of(12, first=50))
    lab.put(NAME, [{**point, "vector": [1, 2, 3, 4]} for point in points_of(40)[20:32]])

    assert findings(lab) == []


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda points: [{**point, "vector": [2, 1, 0, 1]} for point in points], "40 of 40 points have another vector"),
        (
            lambda points: [{**point, "vector": [0, 0, 0, 0]} for point in points[:12]],
            "12 of 40 points have an all-zero",
        ),
        (
            lambda points: [{**point, "id": number} for number, point in enumerate(points, start=1000)],
            "40 of 80 points repeat the payload and vectors of another",
        ),
        (
            lambda points: [{**points[0], "id": point["id"]} for point in points[:15]],
            "14 of 40 points repeat the payload and vectors of another",
        ),
    ],
    ids=["another embedding model", "zero vectors", "duplicates", "duplicates in the place of others"],
)
def test_what_goes_wrong_with_many_points_is_said(lab: Lab, edit: Any, words: str) -> None:
    lab.make(NAME, points_of(40))
    lab.back_up()
    lab.put(NAME, edit(points_of(40)))

    assert any(words in finding for finding in findings(lab))


def test_a_collection_that_is_gone_or_has_other_vectors_or_lost_an_index_is_said(lab: Lab) -> None:
    lab.make(NAME, points_of(3), indexes={"group": "keyword"})
    lab.make("conventions", points_of(3))
    lab.back_up()
    lab.delete("conventions")
    lab.delete(NAME)
    lab.make(NAME, [], {"vectors": {"size": 8, "distance": "Cosine"}})

    assert findings(lab) == [
        f"{NAME}: the distance of its vector was Dot and is Cosine",
        f"{NAME}: the size of its vector was 4 and is 8",
        f"{NAME}: the payload index of group is gone",
        "the collection conventions is gone",
    ]


def test_a_backup_of_some_collections_does_not_miss_the_others(lab: Lab) -> None:
    lab.make(NAME, points_of(3))
    lab.make("conventions", points_of(3))
    lab.back_up()
    lab.back_up(NAME)

    assert suspects(lab.ports) == ()
