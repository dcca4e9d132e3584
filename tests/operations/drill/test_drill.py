"""A drill in the embedded engine proves good backups of either server, and finds what is wrong with others."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qdrant_backup.digest import MAGIC
from qdrant_backup.errors import CollectionMissing, ContentUnreadable, IntegrityFailed
from qdrant_backup.layout import backup_id_at
from qdrant_backup.operations.drill import embedded as in_engine
from qdrant_backup.operations.drill.record import Asked, record
from qdrant_backup.operations.drill.report import DrillReport, Outcome
from qdrant_backup.operations.drill.run import drill
from qdrant_backup.operations.looking.opening import open_backups
from qdrant_backup.storage.catalogue import CatalogueEntry, CatalogueFile, Level
from qdrant_backup.storage.golden import GoldenFile, GoldenQuery
from qdrant_backup.storage.stored import StoredBackup
from support.damaged import copied, republished
from support.original_backup import OriginalBackup, original_backup
from support.restoring import Lab, archive_bytes, named_config, points_of

__all__ = ["original_backup"]


def outcomes(report: DrillReport, name: str) -> list[Outcome]:
    return [check.outcome for check in report.checks if check.name == name]


def known(lab: Lab, backup: StoredBackup) -> CatalogueEntry:
    return CatalogueFile(lab.root).read().entry(backup)


def recorded(lab: Lab, backup: StoredBackup, *asked: Asked) -> tuple[GoldenQuery, ...]:
    with open_backups(lab.ports, [(backup, None)]) as opened:
        return record(opened, asked, lab.ports)


def test_a_good_backup_is_proven_restorable_and_that_is_remembered(lab: Lab):
    indexes = {"group": {"type": "keyword", "is_tenant": True}, "rank": "integer"}
    lab.make("discussions", points_of(30, named=True), named_config(), indexes)
    lab.make("conventions", points_of(12, seed=2), {"vectors": {"size": 4, "distance": "Cosine"}, "shard_number": 2})
    lab.alias("talk", "discussions")
    made = lab.back_up()
    recorded(lab, made, Asked(words="memory 3"), Asked(like=3, using="text"))
    report = drill(made, lab.ports)

    assert report.passed, report
    assert report.level is Level.DRILL
    assert {check.outcome for check in report.checks} == {Outcome.PASSED}, report.checks
    for name in ("open", "counts", "digest", "config", "indexes", "shards", "aliases"):
        assert outcomes(report, name) == [Outcome.PASSED] * 2, name
    # The words in both collections, the likeness in the first that has the point; it has an index to ask through.
    assert len(outcomes(report, "golden")) >= 3
    assert outcomes(report, "golden-index")
    entry = known(lab, made)
    assert entry.level is Level.DRILL
    assert entry.restorable is not None
    assert entry.restorable.server == ""
    assert entry.restored is None


def test_one_flipped_bit_is_found_and_takes_the_proof_back(embedded: Lab):
    embedded.make("docs", points_of(5))
    made = embedded.back_up()
    assert drill(made, embedded.ports).passed
    snapshot = made.path / made.manifest.collections["docs"].snapshot
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 1
    snapshot.write_bytes(data)

    report = drill(made, embedded.ports)

    assert outcomes(report, "files") == [Outcome.FAILED]
    assert report.level is None
    with pytest.raises(IntegrityFailed):
        report.raise_for_outcome()
    assert (known(embedded, made).level, known(embedded, made).restorable) == (None, None)


def test_content_that_is_not_the_digests_is_found(lab: Lab, tmp_path: Path):
    lab.make("docs", points_of(9))
    full = lab.back_up()
    lab.call("POST", "/collections/docs/points/delete?wait=true", {"points": [3]})
    less = lab.back_up()
    # Every byte fits its checksum; only the points are not those that were recorded.
    wrong = republished(full, tmp_path / "wrong", {"docs": archive_bytes(less, "docs")})

    report = drill(wrong, lab.ports)

    assert outcomes(report, "files") == [Outcome.PASSED]
    assert outcomes(report, "digest") == [Outcome.FAILED]
    assert outcomes(report, "counts") == [Outcome.FAILED]
    assert "9 points" in next(check.detail for check in report.checks if check.name == "digest")


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"config": {"params": {"vectors": {"size": 4, "distance": "Cosine"}}}}, "config"),
        ({"payload_schema": {"text": {"data_type": "text", "points": 1}}}, "indexes"),
        ({"content": "00" * 32}, "digest"),
    ],
    ids=["config", "indexes", "digest"],
)
def test_a_manifest_that_says_otherwise_is_found(embedded: Lab, change: dict[str, Any], check: str):
    embedded.make("docs", points_of(5))
    made = embedded.back_up()
    entry = made.manifest.collections["docs"]
    other = changed(embedded, made, lambda _: msgspec.structs.replace(entry, **change))

    report = drill(other, embedded.ports)

    assert [found.name for found in report.failures] == [check]
    # Bytes and points of the others are proven all the same; only the drill has failed.
    level = known(embedded, other).level
    assert level is (None if check == "digest" else Level.CONTENT)
    assert known(embedded, other).restorable is None


def changed(lab: Lab, backup: StoredBackup, change: Callable[[Any], Any]) -> StoredBackup:
    """The backup once more in the same directory, its manifest's only entry changed, its checksums made to fit."""
    [(name, entry)] = backup.manifest.collections.items()
    with lab.ports.directory.begin(backup_id_at(backup.finished_at)) as partial:
        for path in (entry.snapshot, entry.digest_file):
            partial.write(path, (backup.path / path).read_bytes())
        manifest = msgspec.structs.replace(backup.manifest, collections={name: change(entry)}, config_files=[])
        return partial.publish(manifest)


def test_a_missing_digest_is_computed_anew_and_said_to_be(embedded: Lab, original_backup: OriginalBackup):
    made = embedded.ports.directory.find(str(original_backup.backup_dir))
    report = drill(made, embedded.ports, collections=["discussions"])

    assert report.passed, report
    assert not report.whole
    [check] = [check for check in report.checks if check.name == "digest"]
    assert check.outcome is Outcome.SKIPPED
    assert "computed anew" in check.detail


def test_a_digest_of_another_format_is_computed_anew_and_said_to_be(embedded: Lab):
    embedded.make("docs", points_of(5))
    made = embedded.back_up()
    [entry] = made.manifest.collections.values()
    older = MAGIC[:-1] + b"0" + (made.path / entry.digest_file).read_bytes()[len(MAGIC) :]
    with embedded.ports.directory.begin(backup_id_at(made.finished_at)) as partial:
        partial.write(entry.snapshot, (made.path / entry.snapshot).read_bytes())
        partial.write(entry.digest_file, older)
        other = partial.publish(msgspec.structs.replace(made.manifest, config_files=[]))

    report = drill(other, embedded.ports)

    assert outcomes(report, "digest") == [Outcome.SKIPPED]
    assert report.passed


def test_what_cannot_be_opened_is_neither_proven_nor_called_damaged(embedded: Lab, monkeypatch: pytest.MonkeyPatch):
    embedded.make("docs", points_of(5))
    made = embedded.back_up()

    def unreadable(*_: object) -> None:
        raise ContentUnreadable("the engine cannot open it", why="it is of the future")

    monkeypatch.setattr(in_engine, "digested_anew", unreadable)
    report = drill(made, embedded.ports)

    assert (report.passed, report.level, report.failures) == (False, Level.ARCHIVE, ())
    with pytest.raises(ContentUnreadable):
        report.raise_for_outcome()
    assert known(embedded, made).restorable is None


def test_a_part_of_a_backup_proves_nothing_of_the_rest(embedded: Lab):
    embedded.make("docs", points_of(5))
    embedded.make("other", points_of(5))
    embedded.alias("talk", "docs")
    made = embedded.back_up()

    report = drill(made, embedded.ports, collections=["talk"])

    assert report.passed
    assert {check.collection for check in report.checks} == {"", "docs"}
    assert known(embedded, made).level is Level.CONTENT
    with pytest.raises(CollectionMissing):
        drill(made, embedded.ports, collections=["nothing"])


def test_damage_of_a_collection_that_is_left_out_is_nobodys_business(embedded: Lab):
    embedded.make("docs", points_of(5))
    embedded.make("other", points_of(5))
    made = embedded.back_up()
    (made.path / made.manifest.collections["other"].snapshot).write_bytes(b"spoiled")

    assert drill(made, embedded.ports, collections=["docs"]).passed
    assert not drill(made, embedded.ports).passed


def test_golden_queries_survive_what_people_do(lab: Lab):
    config = {"vectors": {"size": 4, "distance": "Euclid"}}
    lab.make("docs", points_of(20), config)
    recorded(lab, lab.back_up(), Asked(words="memory", limit=5), Asked(like=3, limit=5))
    golden = GoldenFile(lab.root).read().queries
    best = [[answer.id for answer in query.answers] for query in golden]
    lab.call("POST", "/collections/docs/points/delete?wait=true", {"points": best[0][:1]})
    lab.call(
        "POST", "/collections/docs/points/payload?wait=true", {"payload": {"text": "else"}, "points": best[0][1:2]}
    )
    [vector] = [query.vector for query in golden if query.like == 3]
    lab.put("docs", [{"id": 900 + at, "vector": vector, "payload": {"text": "memory memory"}} for at in range(2)])

    report = drill(lab.back_up(), lab.ports)

    assert outcomes(report, "golden") == [Outcome.PASSED] * 2, report.checks
    details = " ".join(check.detail for check in report.checks if check.name == "golden")
    assert "deleted or edited since" in details
    assert "displaced by better ones" in details


@pytest.mark.parametrize("asked", [Asked(words="alpha", limit=4), Asked(like=1, limit=4)], ids=["words", "vector"])
def test_golden_queries_that_are_not_answered_any_more_fail(lab: Lab, asked: Asked):
    points = points_of(80)
    for number, point in enumerate(points):
        point["payload"] = {"text": f"{'alpha' if number < 8 else 'beta'} {number}"}
    lab.make("docs", points)
    made = lab.back_up()
    [query] = recorded(lab, made, asked)
    # As if other points had answered then: they are there, unchanged, and do not answer now.
    others = [point for point in points if point["id"] not in {answer.id for answer in query.answers}][-4:]
    [wrong] = recorded(lab, made, dataclasses.replace(asked, words="beta" if asked.words else "", limit=80))
    prints = {answer.id: answer.fingerprint for answer in wrong.answers}
    answers = tuple(
        msgspec.structs.replace(answer, id=other["id"], fingerprint=prints[other["id"]])
        for answer, other in zip(query.answers, others, strict=True)
    )
    file = GoldenFile(lab.root)
    file.write(msgspec.structs.replace(file.read(), queries=(msgspec.structs.replace(query, answers=answers),)))

    report = drill(made, lab.ports)

    assert [check.name for check in report.failures] == ["golden"]
    with pytest.raises(IntegrityFailed):
        report.raise_for_outcome()
    assert known(lab, made).level is Level.CONTENT
    assert known(lab, made).restorable is None


def test_another_embedding_model_is_told_rather_than_failed(embedded: Lab):
    embedded.make("docs", points_of(5))
    recorded(embedded, embedded.back_up(), Asked(words="x", vector=[1.0, 0.0, 0.0, 0.0]))
    embedded.delete("docs")
    embedded.make("docs", [{"id": 1, "vector": [1.0, 2.0], "payload": {}}], {"vectors": {"size": 2, "distance": "Dot"}})

    report = drill(embedded.back_up(), embedded.ports)

    assert report.passed
    assert outcomes(report, "golden") == [Outcome.WARNED]


def test_a_golden_query_of_a_collection_that_is_not_there_is_skipped(embedded: Lab):
    embedded.make("docs", points_of(5))
    embedded.make("other", points_of(5))
    recorded(embedded, embedded.back_up(), Asked(words="memory"))
    embedded.delete("other")

    report = drill(embedded.back_up(), embedded.ports)

    assert sorted(outcomes(report, "golden")) == sorted([Outcome.PASSED, Outcome.SKIPPED])
    assert report.passed


def test_a_drill_reads_and_never_writes_the_backup(embedded: Lab, tmp_path: Path):
    embedded.make("docs", points_of(5))
    made = copied(embedded.back_up(), tmp_path / "elsewhere")
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.path.rglob("*") if path.is_file()}

    assert drill(made, embedded.ports).passed

    assert {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.path.rglob("*") if path.is_file()
    } == before
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]
