"""A whole archive is walked to the same members, however it comes, and whatever form its segments have."""

from __future__ import annotations

import io
import itertools
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdrant_backup.archive import tar
from qdrant_backup.archive.walk import ArchiveWalker
from qdrant_backup.errors import IntegrityFailed
from support.archives import (
    ELSEWHERE,
    SEGMENT,
    Recorder,
    archive,
    collection_items,
    nested_segment,
    root_items,
    segment_items,
    shard_items,
    walk,
)
from support.original_backup import OriginalBackup, original_backup

__all__ = ["original_backup"]

FILES = f"0/segments/{SEGMENT}/"


def test_a_collection_archive_is_reported_with_its_shards_segments_and_config():
    report, _ = walk(archive(collection_items(2)))
    assert report.kind == "collection"
    assert report.shard_ids == report.shards_with_data == (0, 1)
    assert [segment.version for segment in report.shards[1].segments] == [17]
    assert report.shards[0].segments[0].files == 6
    assert report.config is not None
    assert report.config["params"]["shard_number"] == 2
    assert report.payload_schema == {"type": "keyword"}
    assert report.members == 2 * (6 + 4) + 4
    assert report.size_bytes == len(archive(collection_items(2)))
    assert report.unknown == ()


def test_a_shard_archive_is_told_from_a_collection_archive():
    report, recorder = walk(archive(shard_items()))
    assert report.kind == "shard"
    assert report.shard_ids == ()
    assert report.shards[0].has_data
    assert f"segments/{SEGMENT}/segment.json" in recorder.contents


@pytest.mark.parametrize(
    "form",
    [
        [(f"0/segments/{SEGMENT}.tar", nested_segment())],
        [(f"0/segments/{SEGMENT}.tar", nested_segment(end=tar.END_BLOCKS))],
        [(f"0/segments/{SEGMENT}.tar", nested_segment(top="snapshot/"))],
        [(f"0/segments/{SEGMENT}.tar", nested_segment(top=""))],
        [(f"0/segments/{SEGMENT}.tar", nested_segment(top="./snapshot/files/"))],
        segment_items(f"0/segments/{SEGMENT}/files/"),
        segment_items(f"0/segments/{SEGMENT}/"),
        segment_items(f"./0/segments/{SEGMENT}/files/"),
    ],
    ids=["regular", "regular closed", "without files", "ancient", "dotted", "streamable", "plain", "dotted streamable"],
)
def test_every_form_of_a_segment_gives_the_same_files(form):
    rest = [item for item in collection_items() if not item[0].startswith("0/segments/")]
    _, recorder = walk(archive(form + rest))
    expected = {
        f"{FILES}{name}": content if isinstance(content, bytes) else _unrolled(content)
        for name, content in segment_items("")
    }
    assert {name: content for name, content in recorder.contents.items() if name.startswith(FILES)} == expected


def _unrolled(content) -> bytes:
    size, runs = content
    whole = bytearray(size)
    for offset, run in runs:
        whole[offset : offset + len(run)] = run
    return bytes(whole)


def test_sparse_members_tell_their_extents_and_only_those_bytes():
    _, recorder = walk(archive(collection_items()))
    chunk = next(member for member in recorder.members if member.name.endswith("chunk_0.mmap"))
    assert chunk.extents == ((0, 1024), (4096, 700))
    assert chunk.size_bytes == 8192
    flags = next(member for member in recorder.members if member.name.endswith("flags_a.dat"))
    assert flags.extents == ()
    assert next(member for member in recorder.members if member.name.endswith("page_0.dat")).extents is None


def test_a_sparse_member_with_many_extents_needs_extension_blocks_and_comes_through_whole():
    runs = [(at * 4096, bytes((at % 251 + 1,)) * 512) for at in range(60)]
    items = shard_items()
    items.insert(0, (f"segments/{SEGMENT}/files/big.dat", (1 << 20, runs)))
    _, recorder = walk(archive(items), chunk_size=300)
    assert recorder.contents[f"segments/{SEGMENT}/big.dat"] == _unrolled((1 << 20, runs))


def test_the_order_of_members_does_not_matter():
    items = collection_items(nested=False)
    assert walk(archive(items[::-1]))[1].contents == walk(archive(items))[1].contents


def test_directories_may_be_named_and_named_again():
    directories = [("./", None), ("0", None), ("0/wal", None), (f"0/segments/{SEGMENT}", None), ("0/wal", None)]
    directories += [(f"0/segments/{SEGMENT}/files", None)]
    _, recorder = walk(archive(directories + collection_items(nested=False)))
    named = [member.name for member in recorder.members if member.is_directory]
    assert named == ["0", "0/wal", f"0/segments/{SEGMENT}"]


def test_an_empty_wal_directory_counts_as_a_wal():
    items = [item for item in shard_items() if not item[0].startswith("wal/")]
    with pytest.raises(IntegrityFailed, match="wal"):
        walk(archive(items))
    walk(archive([*items, ("wal", None)]))


def test_a_shard_that_lives_elsewhere_is_reported_without_data():
    items = [
        *shard_items("0/"),
        ("1/replica_state.json", ELSEWHERE),
        ("1/shard_config.json", b"{}"),
        *root_items(2),
    ]
    report, _ = walk(archive(items))
    assert report.shard_ids == (0, 1)
    assert report.shards_with_data == (0,)


def test_custom_sharding_takes_the_expected_shards_from_the_keys():
    keys = b'[{"key":"tenant","shard_ids":[3]},{"key":9,"shard_ids":[5]}]'
    items = [*shard_items("3/"), *shard_items("5/"), *root_items(1, keys)]
    report, _ = walk(archive(items))
    assert report.shard_keys == (("tenant", (3,)), (9, (5,)))
    with pytest.raises(IntegrityFailed, match="shard 5 is missing"):
        walk(archive([*shard_items("3/"), *root_items(1, keys)]))
    older = archive([*shard_items("3/"), *root_items(1, b'{"tenant":[3]}')])
    assert walk(older)[0].shard_keys == (("tenant", (3,)),)


def test_a_partial_snapshot_is_told_apart_and_refused_where_a_full_one_is_wanted():
    items = [*shard_items(), (f"segments/{SEGMENT}/files/segment_manifest.json", b'{"segment_version":4}')]
    report, _ = walk(archive(items))
    assert report.kind == "partial"
    assert report.shards[0].segments[0].manifest == {"segment_version": 4}
    with pytest.raises(IntegrityFailed, match="partial"):
        walk(archive(items), kind="shard")


def test_unknown_names_of_a_future_version_are_accepted_and_reported():
    items = [("new_at_root.json", b"1"), ("0/new_in_shard.json", b"2"), *collection_items()]
    assert walk(archive(items))[0].unknown == ("new_at_root.json", "0/new_in_shard.json")


def test_zeros_behind_the_end_are_padding():
    walk(archive(collection_items()) + bytes(7000))


def test_what_pythons_tarfile_writes_is_read():
    for dialect in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=dialect) as writer:
            for name, described in collection_items(nested=False):
                content = described if isinstance(described, bytes) else _unrolled(described)
                info = tarfile.TarInfo(name)
                info.size = len(content)
                writer.addfile(info, io.BytesIO(content))
        _, recorder = walk(buffer.getvalue())
        assert recorder.contents == walk(archive(collection_items(nested=False)))[1].contents


def test_what_we_write_is_read_by_pythons_tarfile():
    items = collection_items(nested=False)
    with tarfile.open(fileobj=io.BytesIO(archive(items))) as reader:
        read = {info.name: reader.extractfile(info).read() for info in reader}  # pyright: ignore[reportOptionalMemberAccess]
    assert read == {name: c if isinstance(c, bytes) else _unrolled(c) for name, c in items}


def test_a_size_beyond_octal_is_written_and_read_in_base_256():
    header = tar.parse_header(tar.file_header("big", 1 << 40))
    assert header.stored_bytes == 1 << 40


def test_a_servers_own_snapshots_are_whole(original_backup: OriginalBackup):
    for collection, points in original_backup.expected_points.items():
        report, recorder = walk(original_backup.snapshot(collection).read_bytes(), chunk_size=65536, holes=False)
        assert points
        assert report.shards_with_data == (0,)
        assert len(report.shards[0].segments) == 2
        assert report.unknown == ()
        assert report.members == len(recorder.contents)
        assert recorder.contents["0/replica_state.json"].startswith(b'{"is_local":true')


CONTENT = archive([*collection_items(2, nested=True), ("0/wal/open-1", b"x" * 5000)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(CONTENT)), max_size=40))
def test_any_partition_of_the_bytes_gives_the_same_members(cuts):
    whole, expected = walk(CONTENT)
    recorder = Recorder()
    walker = ArchiveWalker(recorder)
    edges = [0, *sorted(cuts), len(CONTENT)]
    reused = bytearray(len(CONTENT))
    for start, end in itertools.pairwise(edges):
        # One buffer for all chunks, as a reader with `readinto` has: nothing may be kept of it.
        view = memoryview(reused)[: end - start]
        view[:] = CONTENT[start:end]
        walker.feed(view)
        view[:] = b"!" * len(view)
    assert walker.finish() == whole
    assert recorder.members == expected.members
    assert recorder.contents == expected.contents


def test_byte_by_byte_is_a_partition_too():
    content = archive(shard_items())
    assert walk(content, chunk_size=1)[1].contents == walk(content)[1].contents


def test_a_visitors_own_error_is_not_taken_for_damage():
    class Careless(Recorder):
        def member(self, member):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        ArchiveWalker(Careless()).feed(archive(shard_items()))
