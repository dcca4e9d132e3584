"""Whatever is wrong with an archive is noticed before anybody restores it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdrant_backup.archive import tar
from qdrant_backup.archive.stream import Limits
from qdrant_backup.archive.walk import ArchiveWalker
from qdrant_backup.errors import IntegrityFailed
from support.archives import (
    ELSEWHERE,
    SEGMENT,
    archive,
    collection_items,
    member,
    nested_segment,
    segment_items,
    shard_items,
    walk,
)
from support.original_backup import OriginalBackup, original_backup

__all__ = ["original_backup"]

COLLECTION = archive(collection_items(nested=True))
SHARD = archive(shard_items())


def refused(content: bytes, why: str, **options) -> None:
    with pytest.raises(IntegrityFailed) as caught:
        walk(content, **options)
    assert why in caught.value.why


def end_of(content: bytes) -> bytes:
    return content[: -len(tar.END_BLOCKS)]


# ------------------------------------------------------------------------------------------------------------- cuts


@pytest.mark.parametrize("content", [COLLECTION, SHARD], ids=["collection", "shard"])
def test_a_cut_at_every_byte_is_noticed(content):
    # One walk finds all prefixes that could pass: a walker that is asked to finish does not change.
    walker = ArchiveWalker()
    for at in range(len(content)):
        with pytest.raises(IntegrityFailed):
            walker.finish()
        walker.feed(content[at : at + 1])
    walker.finish()


def test_a_cut_between_two_members_is_noticed_even_when_the_end_blocks_are_there():
    items = collection_items(nested=False)
    for count in range(len(items)):
        with pytest.raises(IntegrityFailed):
            walk(archive(items[:count]))


def test_a_cut_nested_archive_is_noticed_wherever_the_cut_is():
    inner = nested_segment()
    rest = collection_items()[1:]
    for at in range(0, len(inner), 100):
        with pytest.raises(IntegrityFailed):
            walk(archive([(f"0/segments/{SEGMENT}.tar", inner[:at]), *rest]))


def test_a_servers_snapshot_without_its_last_bytes_is_noticed(original_backup: OriginalBackup):
    content = original_backup.snapshot("jira-data").read_bytes()
    for lost in (1, 511, 512, 513, 1024, 1025, 5000, 100_000, len(content)):
        with pytest.raises(IntegrityFailed):
            walk(content[:-lost], holes=False)


# ------------------------------------------------------------------------------------------------------------- flips


def headers_of(content: bytes, base: int = 0) -> list[int]:
    """Where header blocks stand, those of nested archives included."""
    at = 0
    offsets: list[int] = []
    while at < len(content) and any(content[at : at + 512]):
        header = tar.parse_header(content[at : at + 512])
        offsets.append(base + at)
        stored = header.stored_bytes
        if header.name.endswith(b".tar"):
            offsets += headers_of(content[at + 512 : at + 512 + stored], base + at + 512)
        at += 512 + stored + -stored % 512
    return offsets


def long_names_of(content: bytes) -> list[range]:
    """Where the data of long-name records stands, the only names that no checksum covers."""
    return [range(at + 512, at + 1024) for at in headers_of(content) if content[at + 156 : at + 157] == tar.LONG_NAME]


@pytest.mark.parametrize(("content", "stride"), [(COLLECTION, 11), (SHARD, 3)], ids=["collection", "shard"])
def test_a_flipped_bit_in_any_header_is_noticed_or_changes_nothing(content, stride):
    whole, expected = walk(content)
    passed = 0
    for start in headers_of(content):
        for at in range(start, start + 512, stride):
            damaged = bytearray(content)
            damaged[at] ^= 1 << (at % 8)
            try:
                report, recorder = walk(bytes(damaged))
            except IntegrityFailed:
                continue
            # A zero before the checksum that became a space, the NUL behind it that became one.
            assert 148 <= at - start < 156
            assert (report, recorder.members, recorder.contents) == (whole, expected.members, expected.contents)
            passed += 1
    assert passed <= 2 * len(headers_of(content))


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(COLLECTION) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed_or_changes_no_size_and_no_short_name(at, bit):
    damaged = bytearray(COLLECTION)
    damaged[at] ^= 1 << bit
    _, expected = walk(COLLECTION)
    try:
        _, recorder = walk(bytes(damaged))
    except IntegrityFailed:
        return
    # Content, and a long name is content, has no checksum in a tar: that is what the archive's SHA-256 is for.
    assert [member.size_bytes for member in recorder.members] == [member.size_bytes for member in expected.members]
    if not any(at in names for names in long_names_of(COLLECTION)):
        assert recorder.members == expected.members


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 700))
def test_noise_is_never_anything_but_refused(noise, chunk_size):
    with pytest.raises(IntegrityFailed):
        walk(noise, chunk_size=chunk_size)
    with pytest.raises(IntegrityFailed):
        walk(SHARD[:512] + noise, chunk_size=chunk_size)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_header_with_any_field_overwritten_and_resealed_never_escapes_as_another_error(data):
    blocks = headers_of(COLLECTION)
    start = data.draw(st.sampled_from(blocks))
    block = bytearray(COLLECTION[start : start + 512])
    at = data.draw(st.integers(0, 511))
    field = data.draw(st.binary(min_size=1, max_size=24))[: 512 - at]
    block[at : at + len(field)] = field
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    damaged = COLLECTION[:start] + bytes(block) + COLLECTION[start + 512 :]
    try:
        walk(damaged)
    except IntegrityFailed:
        return


# ----------------------------------------------------------------------------------------------------------- hostile


def hostile(name: str, flag: bytes = b"0", *, size: int = 0) -> bytes:
    block = bytearray(tar.file_header("x", size)[:512])
    block[:100] = name.encode().ljust(100, b"\0")
    block[156:157] = flag
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    return bytes(block)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "0/../../evil",
        "0/wal/..",
        "/etc/passwd",
        "//server/share",
        "C:/windows",
        "c:evil",
        "0\\..\\evil",
        "0//wal/x",
        "",
        ".",
        "./",
        "0/wal/",
        "x" * 99 + "/",
    ],
)
def test_a_name_that_climbs_is_absolute_or_empty_is_refused(name):
    refused(hostile(name) + COLLECTION, "name")


def test_a_long_name_may_hide_nothing_either():
    for name in ("a/" * 60 + "../evil", "/" + "a/" * 60, "n\\" * 60, "x" * 300, "d/" * 3000):
        refused(tar.file_member(name, b"") + COLLECTION, "name")
    record = tar.file_header("a/" * 60 + "b", 0)[:-512]
    refused(record + record + COLLECTION, "two long names")
    refused(end_of(COLLECTION) + record + tar.END_BLOCKS, "belongs to no member")
    refused(tar.file_header("a" * 50 + "\0/" + "b" * 60, 0) + COLLECTION, "NUL")
    refused(_raw_name(b"\xff\xfe"), "UTF-8")


def _raw_name(raw: bytes) -> bytes:
    block = bytearray(hostile("x"))
    block[: len(raw)] = raw
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    return bytes(block) + COLLECTION


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (b"1", "hard link"),
        (b"2", "symbolic link"),
        (b"3", "character device"),
        (b"4", "block device"),
        (b"6", "FIFO"),
        (b"7", "contiguous"),
        (b"x", "pax"),
        (b"g", "global pax"),
        (b"K", "long link"),
        (b"D", "unknown type"),
        (b"V", "unknown type"),
        (b"\xff", "unknown type"),
    ],
)
def test_a_member_that_is_neither_file_nor_directory_is_refused(flag, said):
    refused(hostile("0/wal/x", flag) + COLLECTION, said)
    inner = hostile("snapshot/files/x", flag) + nested_segment()
    refused(archive([(f"0/segments/{SEGMENT}.tar", inner), *collection_items()[1:]]), said)


@pytest.mark.parametrize(
    "twice",
    [
        [("0/wal/x", b""), ("0/wal/x", b"")],
        [("0/wal/x", b""), ("./0/./wal/x", b"")],
        [("0/wal/x", b""), ("0/wal/x/y", b"")],
        [("0/wal/x/y", b""), ("0/wal/x", b"")],
        [("0/wal/x", None), ("0/wal/x", b"")],
        [("0/wal/x", b""), ("0/wal/x", None)],
        [("0/segments/a/files/f", b""), ("0/segments/a/f", b"")],
        [(f"0/segments/{SEGMENT}/files/extra", b"")],
        [(f"0/segments/{SEGMENT}.tar", nested_segment())],
        [("config.json", b"{}")],
    ],
)
def test_two_members_with_one_place_are_refused(twice):
    for content in (archive(twice + collection_items()), archive(collection_items() + twice)):
        with pytest.raises(IntegrityFailed, match=r"taken twice|stands below"):
            walk(content)


def test_a_nested_archive_with_one_name_twice_is_refused():
    inner = archive([("snapshot/files/version.info", b"1")], end=b"") + nested_segment()
    refused(archive([(f"0/segments/{SEGMENT}.tar", inner), *collection_items()[1:]]), "taken twice")


def test_a_nested_archive_that_mixes_its_formats_is_refused():
    inner = archive([("loose", b"1")], end=b"") + nested_segment()
    refused(archive([(f"0/segments/{SEGMENT}.tar", inner), *collection_items()[1:]]), "mixes two formats")


def test_a_sparse_bomb_is_refused_before_a_byte_of_it_is_unpacked():
    many = archive([(f"0/wal/bomb-{number}", (60 << 30, [])) for number in range(80)])
    bombs = [member("0/wal/bomb", (size, [])) + COLLECTION for size in (10**12, 1 << 50, 1 << 62)]
    for bomb in (*bombs, many):
        with pytest.raises(IntegrityFailed, match="claim"):
            ArchiveWalker().feed(bomb)
    refused(member("0/wal/x", (1 << 63, [])) + COLLECTION, "no file can have")


def test_the_limits_are_the_callers():
    refused(COLLECTION, "more than 5 members", limits=Limits(members=5))
    refused(COLLECTION, "document", limits=Limits(document_bytes=20))
    runs = [(at * 1024, b"x" * 512) for at in range(50)]
    refused(archive([("0/wal/x", (1 << 20, runs)), *collection_items()]), "too many runs", limits=Limits(extents=30))
    refused(member("config.json", (1 << 30, [])) + COLLECTION, "document")


def sparse(extents, size, stored=None) -> bytes:
    header = tar.sparse_header("0/wal/x", size, extents)
    stored = sum(length for _, length in extents) if stored is None else stored
    block = bytearray(header)
    block[124:136] = b"%011o\0" % stored
    block[148:156] = b"%06o\0 " % (sum(block[:512]) - sum(block[148:156]) + 256)
    return bytes(block) + bytes(stored) + tar.padding(stored) + COLLECTION


def test_sparse_runs_that_contradict_the_member_are_refused():
    refused(sparse([(4096, 512), (0, 512)], 8192), "ascend")
    refused(sparse([(0, 1024), (512, 512)], 8192), "overlap")
    refused(sparse([(0, 100), (4096, 512)], 8192), "within a block")
    refused(sparse([(0, 512)], 8192, stored=1024), "add up")
    refused(sparse([(0, 1024)], 8192, stored=512), "add up")
    refused(sparse([(8192, 512)], 8192), "ascend")
    walk(sparse([(0, 512), (4096, 100)], 8192))


def test_a_nested_archive_may_not_be_a_sparse_member():
    refused(archive([(f"0/segments/{SEGMENT}.tar", (1 << 20, [])), *collection_items()[1:]]), "sparse")


def test_nothing_may_follow_the_end_and_no_lone_block_of_zeros_stand_inside():
    refused(COLLECTION + b"\0" * 600 + b"x", "follows the end")
    refused(COLLECTION + COLLECTION, "follows the end")
    items = collection_items()
    refused(member(*items[0]) + bytes(512) + archive(items[1:]), "lone block")
    refused(end_of(COLLECTION) + bytes(512), "cut")


def test_a_directory_with_data_and_a_negative_size_are_refused():
    refused(hostile("0/wal", b"5", size=512) + bytes(512) + COLLECTION, "claims 512 bytes")
    block = bytearray(hostile("0/wal/x"))
    block[124:136] = b"\xff" * 12
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    refused(bytes(block) + COLLECTION, "not octal")


# ---------------------------------------------------------------------------------------------------------- content


REQUIRED = [
    "version.info",
    "config.json",
    "shard_key_mapping.json",
    "payload_index.json",
    "0/replica_state.json",
    "0/shard_config.json",
    f"0/segments/{SEGMENT}/files/segment.json",
    f"0/segments/{SEGMENT}/files/version.info",
    "0/wal/closed-18",
]


@pytest.mark.parametrize("name", REQUIRED)
def test_each_required_member_is_missed(name):
    items = collection_items(nested=False)
    assert name in [each for each, _ in items]
    refused(archive([item for item in items if item[0] != name]), "missing")


def test_a_segment_without_its_last_files_is_missed_in_a_nested_archive_too():
    for lost in ("segment.json", "version.info"):
        inner = archive([item for item in segment_items("snapshot/files/") if not item[0].endswith(lost)], end=b"")
        refused(archive([(f"0/segments/{SEGMENT}.tar", inner), *collection_items()[1:]]), f"{lost} is missing")
    refused(archive([(f"0/segments/{SEGMENT}.tar", b""), *collection_items()[1:]]), "missing")
    refused(archive([("0/segments/empty", None), *collection_items()]), "missing")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("config.json", b"{", "not JSON"),
        ("config.json", b"[]", "should"),
        ("config.json", b"{}", "should"),
        ("config.json", b'{"params":{"shard_number":"many"}}', "shards"),
        ("config.json", b'{"params":{"shard_number":0}}', "shards"),
        ("config.json", b'{"params":{"shard_number":999999999999}}', "1 of 999999999999"),
        ("config.json", b"\xff\xfe", "not JSON"),
        ("payload_index.json", b"null", "should"),
        ("payload_index.json", b"{}", "should"),
        ("shard_key_mapping.json", b"3", "should"),
        ("shard_key_mapping.json", b'[{"key":"a"}]', "should"),
        ("version.info", b"", "empty"),
        ("0/replica_state.json", b"{}", "whether"),
        ("0/replica_state.json", b"not json", "not JSON"),
        ("0/replica_state.json", ELSEWHERE, "denies"),
        ("0/shard_config.json", b"", "not JSON"),
        (f"0/segments/{SEGMENT}/files/segment.json", b'{"version":', "not JSON"),
        (f"0/segments/{SEGMENT}/files/version.info", b"\n", "empty"),
    ],
)
def test_a_document_that_makes_no_sense_is_refused(name, content, why):
    items = [(each, content if each == name else old) for each, old in collection_items(nested=False)]
    refused(archive(items), why)


def test_shards_that_are_missing_or_too_many_are_named():
    two = [item for item in collection_items(2) if not item[0].startswith("1/")]
    refused(archive(two), "1 of 2 shards")
    refused(archive(shard_items("4/") + collection_items()), "shard 4 is not one of the collection's")
    refused(COLLECTION, "shard 1 is missing", expected_shards=[0, 1])
    walk(COLLECTION, expected_shards=[0])


def test_a_shard_with_state_but_without_its_segments_is_missed():
    items = [item for item in collection_items() if "segments" not in item[0]]
    refused(archive(items), "missing")


def test_a_shard_archive_is_refused_where_a_collection_is_wanted_and_the_other_way_round():
    refused(SHARD, "not a collection one", kind="collection")
    refused(COLLECTION, "not a shard one", kind="shard")
    refused(archive(shard_items() + collection_items()), "mixes")


def test_an_archive_of_something_else_is_named_as_no_snapshot():
    refused(tar.END_BLOCKS, "no snapshot")
    refused(archive([("readme.txt", b"hello")]), "no snapshot")
    refused(b"", "cut")


@pytest.mark.parametrize(
    "name", ["0/segments/a", "0/segments/a.zip", "0/segments/a.b/f", "0/segments/.hidden/f", "0/segments/.tar"]
)
def test_what_stands_among_the_segments_must_be_a_segment(name):
    refused(archive([(name, b"x"), *collection_items()]), "neither a segment's directory nor its archive")


def test_the_message_names_the_archive_and_the_place():
    with pytest.raises(IntegrityFailed) as caught:
        walk(COLLECTION[:5000], name="discussions.snapshot")
    assert caught.value.what == "discussions.snapshot is damaged"
    assert "at byte 5000" in caught.value.why
