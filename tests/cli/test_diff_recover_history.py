"""`diff`, `history` and `recover` refuse what makes no sense, with a reason and a remedy, and change nothing."""

from __future__ import annotations

import pytest

from support.command import CommandLine, tree_of
from support.original_backup import OriginalBackup, original_backup
from support.restoring import Lab, path_of, points_of

__all__ = ["original_backup"]

NAME = "discussions"


def test_what_makes_no_sense_is_refused_and_nothing_changes(embedded_line: CommandLine, embedded: Lab) -> None:
    """All in one test: the content is dear, refusing is cheap."""
    line, lab = embedded_line, embedded
    lab.make(NAME, points_of(4))
    lab.back_up()
    lab.call("POST", path_of(NAME, "points/delete?wait=true"), {"points": [1]})
    before, disk = lab.state(), tree_of(lab.root)

    line.inside("diff", "nothing").failed(2, "nothing", "was not found")
    line.inside("diff", "latest", "latest").failed(64, "compared with itself")
    line.inside("diff", "latest", "live", "--collection", "nowhere").failed(2, "nowhere", NAME)
    line.inside("diff", "latest", "live", "--by", "colour").failed(64, "colour", "has such a payload field")
    line.inside("history", "no-id").failed(64, "no point id", "UUID")
    line.inside("history", "18446744073709551616").failed(64, "no point id")
    line.inside("history", "999").failed(2, "no backup has a point 999")
    line.inside("history", "1", "--collection", "nowhere").failed(2, "nowhere")
    line.inside("recover").failed(64, "which points", "--deleted")
    line.inside("recover", "--deleted", "--ids", "1").failed(64, "said twice")
    line.inside("recover", "--search", "memory", "--deleted").failed(64, "said twice")
    line.inside("recover", "--deleted", "--limit", "3").failed(64, "--search")
    line.inside("recover", "--ids", "one").failed(64, "no point id")
    line.inside("recover", "--ids", "999", "--yes").failed(2, "has no point 999", "history 999")
    line.inside("recover", "--filter", "type=", "--yes").failed(64, "at character")
    line.inside("recover", "--deleted", "--from", "nothing").failed(2, "was not found")
    line.inside("recover", "--deleted", "--rename", NAME).failed(64, "OLD=NEW")
    line.inside("recover", "--deleted", "--set", "x").failed(64, "FIELD=VALUE")
    line.inside("recover", "--deleted", "--overwrite", "--keep-newer", "rank").failed(64, "exclude each other")
    line.inside("recover", "diff.json").failed(64, "standard input")
    line.inside("recover", "-", "--yes").failed(64, "no diff")
    line.inside("recover", "--deleted").failed(8, "nothing was recovered", "--yes")
    line.inside("anomaly", "accept", "latest").failed(2, "nothing to accept")

    assert lab.state() == before
    undo = {path for path in tree_of(lab.root) if path not in disk}
    assert undo <= {".undo"}
    assert line.inside("diff", "latest", "--stat", "--json").code == 10


def test_a_backup_of_the_original_scripts_is_compared_by_digests_made_anew(
    embedded_line: CommandLine, original_backup: OriginalBackup
) -> None:
    line = embedded_line
    backup = tree_of(original_backup.backup_dir)
    records = {name: len(points) for name, points in original_backup.expected_points.items()}

    for _ in range(2):
        found = line.inside("diff", str(original_backup.backup_dir), "live", "--stat", "--json")
        assert found.code == 10, found
        counts = {name: (one["presence"], one["removed"]) for name, one in found.json["collections"].items()}
        assert counts == {name: ("before", count) for name, count in records.items()}

    assert tree_of(original_backup.backup_dir) == backup
    kept = list(line.directory.rglob("content.digest"))
    assert len(kept) == len(records)


@pytest.mark.parametrize("way", ["into-url", "own"])
def test_points_go_to_the_server_that_is_named(embedded_line: CommandLine, embedded: Lab, way: str) -> None:
    line, lab = embedded_line, embedded
    lab.make(NAME, points_of(4))
    lab.back_up()
    lab.call("POST", path_of(NAME, "points/delete?wait=true"), {"points": [1]})
    there = {"QDRANT_INTO_API_KEY": lab.api_key, "QDRANT_PORT": "1", "QDRANT_API_KEY": "of another server"}
    words = ["--into-url", lab.running.url] if way == "into-url" else []

    ran = line.inside("recover", "--ids", "1", *words, "--yes", env=there if words else None).ok()

    assert "1 point(s) recovered" in ran.out
    assert "1" in lab.content(NAME)
    back = " ".join(["undo", "--yes", *words])
    assert f"(take it back with: qdrant-backup {back})" in ran.out
    line.inside(*back.split(), env=there if words else None).ok()
    assert "1" not in lab.content(NAME)


def test_a_restore_into_another_server_is_taken_back_there(embedded_line: CommandLine, embedded: Lab) -> None:
    line, lab = embedded_line, embedded
    lab.make(NAME, points_of(4))
    lab.back_up()
    backed_up = lab.state()
    lab.put(NAME, points_of(2, seed=3))
    before = lab.state()
    there = {"QDRANT_INTO_API_KEY": lab.api_key, "QDRANT_PORT": "1", "QDRANT_API_KEY": "of another server"}

    ran = line.inside("restore", "latest", "--force", "--into-url", lab.running.url, env=there).ok()
    assert lab.state() == backed_up
    assert f"qdrant-backup undo --yes --into-url {lab.running.url})" in ran.out
    elsewhere = line.inside("undo", "--yes", env=there)
    assert elsewhere.code == 8
    assert f"or --into-url) at {lab.running.url}" in elsewhere.err
    line.inside("undo", "--yes", "--into-url", lab.running.url, env=there).ok()
    assert lab.state() == before
    nothing = line.inside("resume", "--yes", "--into-url", lab.running.url, env=there)
    assert "There is nothing to resume" in nothing.err
