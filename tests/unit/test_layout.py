"""Names on disk: reversible, safe on every filesystem, never used twice."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdrant_backup import layout
from qdrant_backup.errors import IntegrityFailed
from qdrant_backup.model import CollectionName

names = st.text(min_size=1, max_size=255).map(CollectionName)


@given(names)
def test_a_collection_s_name_comes_back_from_its_file_stem_or_is_hashed(name: CollectionName) -> None:
    stem = layout.file_stem(name)
    assert layout.collection_of_stem(stem) == (None if "%~" in stem else name)
    assert len(stem.encode()) <= 180
    assert not set(stem) & set('/\\:*?"<>|\0')
    assert not stem.startswith(".")


@given(names, names)
def test_two_collections_never_share_a_file_even_where_case_does_not_count(
    a: CollectionName, b: CollectionName
) -> None:
    if a != b:
        assert layout.file_stem(a).casefold() != layout.file_stem(b).casefold()


@pytest.mark.parametrize("name", ["docs", "code-patterns", "a.b_c-9"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert layout.file_stem(CollectionName(name)) == name


@pytest.mark.parametrize(
    ("name", "stem"),
    [("Docs", "%44ocs"), ("con", "%63on"), ("con.x", "%63on.x"), ("..", "%2E%2E"), ("a b", "a%20b"), ("ä", "%C3%A4")],
)
def test_what_a_filesystem_could_mangle_is_escaped(name: str, stem: str) -> None:
    assert layout.file_stem(CollectionName(name)) == stem


def test_long_names_that_differ_at_the_end_only_keep_two_files() -> None:
    a, b = (layout.file_stem(CollectionName("x" * 250 + end)) for end in "ab")
    assert a != b
    assert layout.collection_of_stem(a) is None


def test_a_second_backup_in_the_same_second_gets_a_number() -> None:
    moment = datetime(2026, 2, 3, 15, 30, 52, tzinfo=timezone(timedelta(hours=1)))
    first = layout.backup_id_at(moment)
    assert first == "2026-02-03_143052"
    assert layout.unused_backup_id(moment, {first}) == "2026-02-03_143052-2"
    assert layout.unused_backup_id(moment, {first, f"{first}-2"}) == "2026-02-03_143052-3"


@pytest.mark.parametrize("name", ["2026-02-03_143052", "2026-02-03_143052-12"])
def test_a_published_backup_s_name_is_recognised(name: str) -> None:
    assert layout.is_backup_name(name)
    moment = layout.id_moment(name)
    assert moment is not None
    assert moment[0] == datetime(2026, 2, 3, 14, 30, 52, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "name", [".2026-02-03_143052.partial", "2026-02-03_143052-0", "2026-02-03", "x", "", "2026-02-03_143052.bak"]
)
def test_other_names_are_no_backups(name: str) -> None:
    assert not layout.is_backup_name(name)


@pytest.mark.parametrize("path", ["qdrant/a.snapshot", "config/.env", "config/docker/.env"])
def test_a_path_inside_the_backup_passes(path: str) -> None:
    assert layout.safe_relative_path(path) == path


@pytest.mark.parametrize(
    "path", ["../.env", "/etc/x", "a/../b", "", ".", "a//b", "a\\b", "c:/x", "a/\x00", "a/\x1b[2J"]
)
def test_a_path_that_leaves_the_backup_is_refused(path: str) -> None:
    with pytest.raises(IntegrityFailed):
        layout.safe_relative_path(path)
