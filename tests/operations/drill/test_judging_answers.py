"""Golden answers are judged so that an honest backup passes and a wrong one does not."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from qdrant_backup.model import BackupId, CollectionName
from qdrant_backup.operations.drill.golden import LEAST_OVERLAP, Answer, judge, window
from qdrant_backup.operations.drill.report import Outcome
from qdrant_backup.storage.golden import GoldenAnswer, GoldenQuery

NOON = datetime(2026, 2, 3, 12, tzinfo=timezone.utc)
VECTOR = [1.0, 0.0]


def query(scores: list[float], *, vector: Any = None, limit: int | None = None) -> GoldenQuery:
    """One whose recorded answers are the points 0, 1, 2, ..."""
    answers = tuple(GoldenAnswer(id=at, score=score, fingerprint=f"print {at}") for at, score in enumerate(scores))
    return GoldenQuery(
        id="0123abcd",
        collection=CollectionName("docs"),
        backup_id=BackupId("2026-02-03_120000"),
        recorded_at=NOON,
        answers=answers,
        limit=limit or len(scores),
        words="what is it",
        vector=vector,
    )


def held(asked: GoldenQuery, *, without: tuple[int, ...] = (), edited: tuple[int, ...] = ()) -> dict[int | str, str]:
    """The fingerprints of the recorded answers that are still there."""
    return {
        answer.id: "another" if answer.id in edited else answer.fingerprint
        for answer in asked.answers
        if answer.id not in without
    }


def now(asked: GoldenQuery, *others: tuple[int, float], without: tuple[int, ...] = ()) -> list[Answer]:
    """The recorded answers and others, the best by their scores, as many as a drill asks for."""
    found = [Answer(answer.id, answer.score) for answer in asked.answers if answer.id not in without]
    found += [Answer(*other) for other in others]
    return sorted(found, key=lambda answer: -answer.score)[: window(asked)]


@pytest.mark.parametrize("vector", [None, VECTOR], ids=["words", "vector"])
def test_the_same_answers_pass(vector):
    asked = query([0.9, 0.8, 0.7, 0.6], vector=vector)

    assert judge(asked, held(asked), now(asked)).outcome is Outcome.PASSED


@pytest.mark.parametrize("vector", [None, VECTOR], ids=["words", "vector"])
def test_deleted_and_edited_points_are_left_out_and_said_to_be(vector):
    asked = query([0.9, 0.8, 0.7, 0.6], vector=vector)

    check = judge(asked, held(asked, without=(0, 1), edited=(2,)), now(asked, without=(0, 1, 2)))

    assert check.outcome is Outcome.PASSED
    assert "1 of 1 recorded answers" in check.detail
    assert "3 left out, deleted or edited since" in check.detail


@pytest.mark.parametrize("vector", [None, VECTOR], ids=["words", "vector"])
def test_answers_that_are_all_gone_are_no_failure_but_a_warning(vector):
    asked = query([0.9, 0.8], vector=vector)

    check = judge(asked, held(asked, without=(0, 1)), [])

    assert check.outcome is Outcome.WARNED
    assert "record it again" in check.detail


@pytest.mark.parametrize("vector", [None, VECTOR], ids=["words", "vector"])
def test_unchanged_points_that_do_not_answer_any_more_are_a_failure(vector):
    asked = query([0.9, 0.8, 0.7, 0.6], vector=vector)

    check = judge(asked, held(asked), now(asked, (50, 0.1), (51, 0.1), (52, 0.1), without=(0, 1, 2)))

    assert check.outcome is Outcome.FAILED
    assert f"at least {LEAST_OVERLAP:.0%}" in check.detail


def test_half_of_them_warns():
    asked = query([0.9, 0.8, 0.7, 0.6], vector=VECTOR)

    assert judge(asked, held(asked), now(asked, without=(0, 3))).outcome is Outcome.WARNED


def test_answers_to_a_vector_may_be_displaced_by_better_ones():
    asked = query([0.9, 0.8, 0.7, 0.6], vector=VECTOR)

    check = judge(asked, held(asked), now(asked, (50, 0.95), (51, 0.85), (52, 0.75)))

    assert check.outcome is Outcome.PASSED
    assert "2 of 2 recorded answers are among the best 4; 2 left out, displaced by better ones" in check.detail


def test_answers_to_a_vector_are_not_displaced_by_worse_ones():
    asked = query([0.9, 0.8, 0.7], vector=VECTOR)

    assert judge(asked, held(asked), [Answer(50, 0.3), Answer(51, 0.2), Answer(52, 0.1)]).outcome is Outcome.FAILED


def test_where_scores_are_distances_the_smaller_displaces():
    asked = query([0.1, 0.2, 0.3], vector=VECTOR)
    closer = [Answer(50, 0.05), Answer(0, 0.1), Answer(51, 0.15)]
    farther = [Answer(50, 0.5), Answer(51, 0.6), Answer(52, 0.7)]

    assert judge(asked, held(asked), closer, smaller_is_better=True).outcome is Outcome.PASSED
    assert judge(asked, held(asked), farther, smaller_is_better=True).outcome is Outcome.FAILED


def test_equal_scores_at_the_border_displace_each_other():
    asked = query([0.9, 0.5], vector=VECTOR)

    assert judge(asked, held(asked), [Answer(0, 0.9), Answer(50, 0.5000001)]).outcome is Outcome.PASSED


@pytest.mark.parametrize("vector", [None, {"indices": [1], "values": [1.0]}], ids=["words", "sparse"])
def test_scores_that_drift_with_the_collection_may_fall_some_ranks(vector):
    asked = query([3.0, 2.0], vector=vector)
    newer = [(100 + at, 9.0) for at in range(40)]

    assert window(asked) == 50
    assert judge(asked, held(asked), now(asked, *newer)).outcome is Outcome.PASSED
    assert (
        judge(asked, held(asked), now(asked, *newer, *[(200 + at, 9.0) for at in range(20)])).outcome is Outcome.FAILED
    )
