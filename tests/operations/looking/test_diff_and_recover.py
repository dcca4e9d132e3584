"""A known set of edits is what `diff` reports; what `recover` brings back is the same again, and `undo` takes it back."""

from __future__ import annotations

import json
from typing import Any

from support.command import CommandLine
from support.contracts import matches
from support.restoring import Lab, named_config, path_of, points_of

NAME = "discussions"
DELETED = [3, 7, 11]


def edited(lab: Lab) -> dict[str, Any]:
    """Every kind of edit, once or a few times; the points as they are after it, by id."""
    points = {point["id"]: point for point in points_of(30, named=True)}
    lab.call("POST", path_of(NAME, "points/delete?wait=true"), {"points": DELETED})
    lab.put(NAME, points_of(2, seed=5, named=True, first=101))
    payload = {"payload": {"rank": 99, "new": True}, "points": [5]}
    lab.call("POST", path_of(NAME, "points/payload?wait=true"), payload)
    other = {**points[9]["vector"], "late": [[0.5, 0.25]]}
    lab.put(NAME, [{**points[9], "vector": other}])
    lab.put(NAME, [{**points[13], "vector": other, "payload": {**points[13]["payload"], "text": "another"}}])
    return points


def test_a_diff_reports_exactly_the_edits_and_a_recovery_mends_them(lab: Lab, line: CommandLine) -> None:
    lab.make(NAME, points_of(30, named=True), named_config(), {"group": "keyword"})
    lab.make("untouched", points_of(4))
    before = lab.back_up()
    assert line.inside("diff", before.backup_id, "--json").ok().json["same"]
    old = lab.content(NAME)

    edited(lab)
    lab.index(NAME, "rank", "integer")
    lab.alias("talk", NAME)
    after = lab.back_up()

    found = line.inside("diff", before.backup_id, after.backup_id, "--by", "group", "--json")
    assert found.code == 10, found
    matches("diff --json", found.json)
    part = found.json["collections"][NAME]
    assert {key: part[key] for key in ("added", "removed", "payload_changed", "vector_changed")} == {
        "added": 2,
        "removed": 3,
        "payload_changed": 2,
        "vector_changed": 2,
    }
    changed = {point["id"]: point for point in part["points"]}
    assert {point_id: point["change"] for point_id, point in changed.items()} == {
        **dict.fromkeys(DELETED, "removed"),
        101: "added",
        "00000000-0000-0000-0000-000000000067": "added",
        **dict.fromkeys([5, 9, 13], "changed"),
    }
    assert changed[5]["fields"] == {"new": {"after": True}, "rank": {"before": 5, "after": 99}}
    assert (changed[9]["fields"], changed[9]["vectors"]) == ({}, ["late"])
    assert changed[13]["vectors"] == ["late", "text", "words"]
    assert sum(counts["removed"] for counts in part["by"].values()) == 3
    assert part["indexes"] == {"rank": {"after": {"type": "integer"}}}
    assert found.json["aliases"] == {"talk": {"after": NAME}}
    assert found.json["collections"]["untouched"]["points"] == []

    live = line.inside("diff", before.backup_id, "live", "--json").json
    assert live["collections"] == {
        name: {key: value for key, value in one.items() if key != "by"}
        for name, one in found.json["collections"].items()
    }
    stat = line.inside("diff", before.backup_id, "live", "--stat", "--json").json
    assert "points" not in stat["collections"][NAME]
    text = line.inside("diff", before.backup_id, "--collection", NAME)
    assert text.code == 10
    assert "2 added, 3 removed, 2 payload changed, 2 vector changed" in text.out
    assert "vector late changed" in text.out

    told = line.inside("history", "5", "--json").ok().json
    matches("history --json", told)
    assert [event["event"] for event in told] == ["first_seen", "changed", "last_seen"]
    assert told[1]["changes"]["fields"]["rank"] == {"before": 5, "after": 99}
    assert [event["event"] for event in line.inside("history", "3", "--collection", NAME, "--json").ok().json] == [
        "first_seen",
        "last_seen",
        "gone",
    ]

    # The deleted ones come back, bit for bit, and nothing else changes.
    edits = lab.content(NAME)
    preview = line.inside("recover", "--from", before.backup_id, "--deleted", "--dry-run", "--json").ok().json
    matches("recover --json", preview)
    assert preview["collections"][NAME] == {"added": 3, "overwritten": 0, "kept": 0}
    assert lab.content(NAME) == edits
    line.inside("recover", "--from", before.backup_id, "--deleted").failed(8, "nothing was recovered", "--yes")
    done = line.inside("recover", "--from", before.backup_id, "--deleted", "--yes", "--json").ok().json
    assert done["collections"] == {**preview["collections"]}
    assert lab.content(NAME) == {**edits, **{str(each): old[str(each)] for each in DELETED}}
    again = line.inside("recover", "--from", before.backup_id, "--deleted", "--yes", "--json").ok().json
    assert again["recover_id"] is None

    # Everything that differs, from the diff itself; then nothing differs but what was added.
    mended = line.inside("diff", before.backup_id, "--json").out
    assert {
        point["id"] for point in json.loads(mended)["collections"][NAME]["points"] if point["change"] != "added"
    } == {
        5,
        9,
        13,
    }
    (line.directory / "diff.json").write_text(mended)
    with (line.directory / "diff.json").open() as given:
        ran = line.run("recover", "-", "--from", before.backup_id, "--overwrite", "--yes", "--json", stdin=given).ok()
    assert ran.json["collections"] == {NAME: {"added": 0, "overwritten": 3, "kept": 0}}
    left = line.inside("diff", before.backup_id, "--json").json["collections"][NAME]
    assert (left["added"], left["removed"], left["payload_changed"], left["vector_changed"]) == (2, 0, 0, 0)

    # Back and back again.
    line.inside("undo", "--yes").ok()
    assert lab.content(NAME) == {**edits, **{str(each): old[str(each)] for each in DELETED}}
    line.inside("undo", "--yes").ok()
    assert lab.content(NAME) == edits
    line.inside("undo", "--yes").failed(2, "nothing to undo")
    assert not list(lab.root.glob(".undo/points-*"))

    # What a search finds, from the search itself.
    gone = DELETED[0]
    (line.directory / "found.json").write_text(
        line.inside("search", before.backup_id, "--filter", f"rank={gone}", "--json").out
    )
    with (line.directory / "found.json").open() as given:
        line.run("recover", "-", "--from", before.backup_id, "--yes", stdin=given).ok()
    assert lab.content(NAME) == {**edits, str(gone): old[str(gone)]}
