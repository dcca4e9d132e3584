"""The restore's journal: what a killed restore leaves for the next run, and what undo works from."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from qdrant_backup.errors import Incompatible, IntegrityFailed, RefusedForSafety
from qdrant_backup.model import BackupId, CollectionName, ServerIdentity
from qdrant_backup.storage.journal import (
    Journal,
    JournalFile,
    JournalServer,
    Prior,
    RestoreKind,
    Target,
    TargetState,
    encode,
)

if TYPE_CHECKING:
    from pathlib import Path

    from qdrant_backup.clock import Clock

DOCS = CollectionName("docs")
START = datetime(2026, 2, 3, 14, 30, 52, tzinfo=timezone.utc)


def journal_of(restore_id: str = "r1", **changes: object) -> Journal:
    journal = Journal(
        restore_id=restore_id,
        kind=RestoreKind.RESTORE,
        server=JournalServer.of("http://localhost:6333", ServerIdentity("1.18.3", "abc", "pid", 7, ("http://a",))),
        backup_id=BackupId("2026-02-03_143052"),
        backup_path="/backups/2026-02-03_143052",
        started_at=START,
        targets=(
            Target(
                collection=DOCS,
                source=CollectionName("old docs"),
                prior=Prior(existed=True, config={"params": {"x": 1.5}}, payload_schema={"a": {"type": "keyword"}}),
            ),
        ),
        safety_id=BackupId("2026-02-03_143053"),
        aliases_before={"live": "docs"},
    )
    return journal.but(**changes)


def test_without_a_journal_there_is_nothing_to_read(tmp_path: Path, clock: Clock) -> None:
    assert JournalFile(tmp_path, clock).read() is None
    assert JournalFile(tmp_path, clock).records() == []


def test_what_was_begun_is_what_a_later_run_reads(tmp_path: Path, clock: Clock) -> None:
    opened = JournalFile(tmp_path, clock).begin(journal_of())
    assert opened.order == 1
    assert JournalFile(tmp_path, clock).read() == opened
    assert (tmp_path / ".restore-journal.json").stat().st_mode & 0o777 == 0o600


def test_a_second_restore_is_refused_while_one_is_open(tmp_path: Path, clock: Clock) -> None:
    JournalFile(tmp_path, clock).begin(journal_of("first"))
    with pytest.raises(RefusedForSafety, match="first") as caught:
        JournalFile(tmp_path, clock).begin(journal_of("second"))
    assert "resume" in caught.value.advice


def test_an_intent_stands_on_disk_before_its_outcome(tmp_path: Path, clock: Clock) -> None:
    file = JournalFile(tmp_path, clock)
    journal = file.intend(
        file.begin(journal_of()),
        DOCS,
        "upload",
        state=TargetState.APPLYING,
        upload_name="random.snapshot",
        detail={"sha256": "00"},
    )
    killed = JournalFile(tmp_path, clock).read()
    assert killed is not None
    target = killed.target(DOCS)
    assert (target.state, target.upload_name) == (TargetState.APPLYING, "random.snapshot")
    assert target.open_step is not None
    assert target.open_step.detail == {"sha256": "00"}

    file.conclude(journal, DOCS, state=TargetState.APPLIED)
    ended = JournalFile(tmp_path, clock).read()
    assert ended is not None
    assert ended.target(DOCS).open_step is None
    assert ended.target(DOCS).steps[0].outcome == "done"


def test_an_outcome_without_an_intent_is_a_mistake_of_ours(tmp_path: Path, clock: Clock) -> None:
    file = JournalFile(tmp_path, clock)
    with pytest.raises(ValueError, match="no step of docs"):
        file.conclude(file.begin(journal_of()), DOCS)


def test_a_target_outside_the_plan_is_a_mistake_of_ours(tmp_path: Path, clock: Clock) -> None:
    file = JournalFile(tmp_path, clock)
    with pytest.raises(KeyError):
        file.intend(file.begin(journal_of()), "another", "upload")


def test_a_closed_journal_is_a_record_and_no_journal(tmp_path: Path, clock: Clock) -> None:
    file = JournalFile(tmp_path, clock)
    record = file.close(file.begin(journal_of()))
    assert file.read() is None
    assert file.records() == [record]


@pytest.mark.fault("P09")
def test_the_last_restore_is_the_last_begun_even_when_the_clock_went_back(tmp_path: Path, clock: Clock) -> None:
    file = JournalFile(tmp_path, clock)
    file.close(file.begin(journal_of("zzz")))
    file.close(file.begin(journal_of("aaa", started_at=START.replace(year=2016))))
    assert [record.journal.restore_id for record in file.records()] == ["aaa", "zzz"]


def test_an_undone_restore_is_not_undone_again_and_its_number_not_reused(tmp_path: Path, clock: Clock) -> None:
    file = JournalFile(tmp_path, clock)
    file.consume(file.close(file.begin(journal_of("first"))))
    assert file.records() == []
    assert file.begin(journal_of("second")).order == 2


def test_a_dropped_journal_leaves_no_record(tmp_path: Path, clock: Clock) -> None:
    file = JournalFile(tmp_path, clock)
    file.begin(journal_of())
    file.drop()
    assert file.read() is None
    assert file.records() == []


@pytest.mark.parametrize("cut", [0, 1, 40, -30, -3])
def test_a_cut_journal_is_named_and_never_ignored(tmp_path: Path, clock: Clock, cut: int) -> None:
    (tmp_path / ".restore-journal.json").write_bytes(encode(journal_of())[:cut])
    with pytest.raises(IntegrityFailed, match=r"restore-journal\.json") as caught:
        JournalFile(tmp_path, clock).read()
    assert ".safety-" in caught.value.advice


def test_a_changed_letter_in_the_journal_is_noticed(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / ".restore-journal.json").write_bytes(encode(journal_of()).replace(b"old docs", b"new docs"))
    with pytest.raises(IntegrityFailed, match="checksum"):
        JournalFile(tmp_path, clock).read()


def test_a_journal_that_is_a_link_is_damaged_even_when_it_leads_nowhere(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / ".restore-journal.json").symlink_to(tmp_path / "gone")
    with pytest.raises(IntegrityFailed, match="symbolic link"):
        JournalFile(tmp_path, clock).read()


def test_a_journal_of_a_newer_version_is_named_as_such(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / ".restore-journal.json").write_bytes(b'{"sha256": "?", "document": {"format": 2, "new": []}}')
    with pytest.raises(Incompatible, match="newer"):
        JournalFile(tmp_path, clock).read()


def test_an_open_journal_protects_its_backups_from_pruning(tmp_path: Path, clock: Clock) -> None:
    file = JournalFile(tmp_path, clock)
    opened = file.begin(journal_of())
    assert file.protected_ids() == {"2026-02-03_143052", "2026-02-03_143053"}
    file.close(opened)
    assert file.protected_ids() == frozenset()


def test_the_safety_backup_of_a_target_that_was_not_restored_is_protected_for_good(
    tmp_path: Path, clock: Clock
) -> None:
    file = JournalFile(tmp_path, clock)
    file.close(file.begin(journal_of()).with_target(DOCS, state=TargetState.NOT_RESTORED))
    assert file.protected_ids() == {"2026-02-03_143053"}
