"""The digest: the same points give the same bytes, and any change shows."""

from __future__ import annotations

import io
import struct
import uuid
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdrant_backup import digest as d
from qdrant_backup.digest_merge import changes
from qdrant_backup.errors import IntegrityFailed

ids = st.one_of(st.integers(0, 2**64 - 1), st.uuids())
names = ("", "colbert")


def written(records: list[bytes], vectors: tuple[str, ...] = names) -> bytes:
    out = io.BytesIO()
    writer = d.DigestWriter(out.write, vectors)
    writer.add(records)
    writer.finish()
    return out.getvalue()


def record(number: int, text: str = "x", first: float = 0.5) -> bytes:
    return d.record_of(number, {"text": text}, {"": [first, 1.0], "colbert": [[1.0], [2.0]]}, names)


@given(ids)
def test_an_id_comes_back_from_its_key(point_id: int | uuid.UUID) -> None:
    assert d.point_id_of(d.point_key(point_id)) == (point_id if isinstance(point_id, int) else str(point_id))


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.uuids()))
def test_keys_sort_as_qdrant_sorts_ids(numbers: list[int], uuids: list[uuid.UUID]) -> None:
    expected = [*sorted(numbers), *sorted(uuids)]
    assert sorted(map(d.point_key, [*uuids, *numbers])) == list(map(d.point_key, expected))


@pytest.mark.parametrize("bad", [-1, 2**64, "abc", ""])
def test_what_is_no_point_id_is_refused(bad: int | str) -> None:
    with pytest.raises(ValueError):
        d.point_key(bad)


def test_key_order_does_not_matter_to_a_payload_and_types_do() -> None:
    assert d.payload_hash({"a": 1, "b": {"c": 2, "d": 3}}) == d.payload_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert d.payload_hash({"a": 1}) != d.payload_hash({"a": 1.0})
    assert d.payload_hash({"a": [1, 2]}) != d.payload_hash({"a": [2, 1]})
    assert d.payload_hash(None) == d.payload_hash({})


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1), st.data())
def test_one_flipped_bit_of_a_vector_shows(values: list[float], data: st.DataObject) -> None:
    packed = bytearray(struct.pack(f"<{len(values)}f", *values))
    bit = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[bit // 8] ^= 1 << bit % 8
    flipped = list(struct.unpack(f"<{len(values)}f", packed))
    if any(value != value for value in flipped):
        return
    assert d.vector_hash(values) != d.vector_hash(flipped)


def test_the_order_of_sparse_entries_has_no_meaning_and_their_form_has_none() -> None:
    a = d.vector_hash({"indices": [5, 1], "values": [0.5, 0.25]})
    assert a == d.vector_hash(SimpleNamespace(indices=[1, 5], values=[0.25, 0.5]))
    assert a != d.vector_hash({"indices": [5, 1], "values": [0.25, 0.5]})


def test_kinds_of_vectors_do_not_collide() -> None:
    assert len({d.vector_hash(v) for v in ([1.0, 2.0], [[1.0, 2.0]], [[1.0], [2.0]])}) == 3


@given(st.sets(st.integers(0, 50)))
def test_records_come_back_and_each_is_found_by_its_key(numbers: set[int]) -> None:
    records = [record(number) for number in sorted(numbers)]
    reader = d.DigestReader(io.BytesIO(written(records)))
    assert list(reader.records()) == records
    assert reader.summary.points == len(records)
    assert all(reader.find(d.point_key(number)) == record(number) for number in numbers)
    assert reader.find(d.point_key(51)) is None


def test_equal_content_is_equal_points_and_another_point_changes_it() -> None:
    def content(records: list[bytes]) -> str:
        return d.DigestReader(io.BytesIO(written(records))).summary.content

    assert content([record(1), record(2)]) == content([record(1), record(2)])
    assert content([record(1), record(2)]) != content([record(1), record(2, text="y")])
    assert content([record(1)]) != content([record(1), record(2)])


def test_records_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError):
        written([record(2), record(1)])


@given(st.data())
def test_a_digest_cut_anywhere_is_damaged(data: st.DataObject) -> None:
    whole = written([record(1), record(2), record(3)])
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(IntegrityFailed):
        list(d.DigestReader(io.BytesIO(cut)).records())


def test_a_header_that_is_no_text_is_damage() -> None:
    whole = bytearray(written([record(1)]))
    whole[len(d.MAGIC) + 4 + 14] = 0xF2
    with pytest.raises(IntegrityFailed):
        d.DigestReader(io.BytesIO(bytes(whole)))


@given(st.data())
def test_a_digest_with_a_flipped_bit_is_damaged(data: st.DataObject) -> None:
    whole = bytearray(written([record(1), record(2), record(3)]))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityFailed):
        list(d.DigestReader(io.BytesIO(bytes(whole))).records())


@given(
    st.dictionaries(st.integers(0, 20), st.sampled_from("ab")),
    st.dictionaries(st.integers(0, 20), st.sampled_from("ab")),
)
def test_comparing_two_digests_reports_exactly_what_differs(before: dict[int, str], after: dict[int, str]) -> None:
    changes = d.compare(
        [record(n, t) for n, t in sorted(before.items())], [record(n, t) for n, t in sorted(after.items())]
    )
    found = {d.point_id_of(change.key): (change.before is None, change.after is None) for change in changes}
    expected = {
        n: (n not in before, n not in after) for n in before.keys() | after.keys() if before.get(n) != after.get(n)
    }
    assert found == expected


def reader_of(records: list[bytes], vectors: tuple[str, ...] = names) -> d.DigestReader:
    return d.DigestReader(io.BytesIO(written(records, vectors)))


@given(
    st.dictionaries(st.integers(0, 400), st.sampled_from("xyz"), max_size=200),
    st.dictionaries(st.integers(0, 400), st.sampled_from("xyz"), max_size=200),
)
def test_changes_of_two_digests_are_those_of_their_records(left: dict[int, str], right: dict[int, str]) -> None:
    mine = [record(number, text) for number, text in sorted(left.items())]
    theirs = [record(number, text) for number, text in sorted(right.items())]

    found = list(changes(reader_of(mine), reader_of(theirs)))

    assert found == list(d.compare(mine, theirs))
    assert {d.point_id_of(change.key) for change in found} == {
        number for number in left.keys() | right.keys() if left.get(number) != right.get(number)
    }


def test_changes_are_found_across_the_blocks_in_which_digests_are_read() -> None:
    mine = [record(number) for number in range(40_000)]
    theirs = [record(number, "y" if number in {0, 20_001, 39_999} else "x") for number in range(40_000) if number != 7]

    found = [
        (d.point_id_of(change.key), change.after is None) for change in changes(reader_of(mine), reader_of(theirs))
    ]

    assert found == [(0, False), (7, True), (20_001, False), (39_999, False)]


def test_digests_with_other_vector_names_are_compared_by_the_common_ones() -> None:
    both = {"a": [1.0, 0.5], "b": [0.25]}
    mine = [d.record_of(number, {"n": number}, both, ("a", "b")) for number in range(3)]
    other = [{**both, "a": [1.0, 0.5 + (number == 2)]} for number in range(3)]
    theirs = [d.record_of(number, {"n": number}, other[number], ("a", "c")) for number in range(3)]

    found = list(changes(reader_of(mine, ("a", "b")), reader_of(theirs, ("a", "c"))))

    assert [d.point_id_of(change.key) for change in found] == [2]


def test_a_damaged_digest_is_refused_by_a_comparison() -> None:
    good = [record(number) for number in range(100)]
    raw = bytearray(written(good))
    raw[1000] ^= 1

    with pytest.raises(IntegrityFailed):
        list(changes(d.DigestReader(io.BytesIO(bytes(raw))), reader_of(good)))
