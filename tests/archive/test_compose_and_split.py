"""A collection's archive is composed from its shards' and split into them again, without touching their data."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdrant_backup.archive import tar
from qdrant_backup.archive.compose import compose_collection, payload_index_document
from qdrant_backup.archive.split import split_shard
from qdrant_backup.errors import IntegrityFailed
from support.archives import (
    CONFIG,
    ELSEWHERE,
    SEGMENT,
    archive,
    chunked,
    collection_items,
    member,
    shard_items,
    walk,
)
from support.original_backup import OriginalBackup, original_backup

__all__ = ["original_backup"]

SCHEMA = {
    "type": {"data_type": "keyword", "points": 4},
    "group": {"data_type": "keyword", "params": {"type": "keyword", "is_tenant": True}, "points": 4},
}


def config(shard_number: int) -> dict:
    return {"params": {**CONFIG["params"], "shard_number": shard_number}}


def composed(*shards: bytes, size: int = 1000, **options) -> bytes:
    streams = [(number, chunked(shard, size)) for number, shard in enumerate(shards)]
    return b"".join(compose_collection(streams, config=config(len(shards)), payload_schema=SCHEMA, **options))


def split(content: bytes, shard_id: int, size: int = 1000) -> bytes:
    return b"".join(split_shard(chunked(content, size), shard_id))


def test_a_composed_archive_is_a_whole_collection_archive():
    report, recorder = walk(composed(archive(shard_items()), archive(shard_items(nested=True))), kind="collection")
    assert report.shards_with_data == (0, 1)
    assert report.config == config(2)
    assert report.payload_schema == {"type": "keyword", "group": {"type": "keyword", "is_tenant": True}}
    assert recorder.contents["version.info"] == b"0.4.2"
    _, alone = walk(archive(shard_items()))
    for number in (0, 1):
        assert {name: recorder.contents[f"{number}/{name}"] for name in alone.contents} == alone.contents


def test_the_documents_are_the_last_members_in_the_servers_order():
    _, recorder = walk(composed(archive(shard_items())))
    last = [each.name for each in recorder.members][-4:]
    assert last == ["version.info", "config.json", "shard_key_mapping.json", "payload_index.json"]


def test_splitting_gives_back_the_shards_that_were_composed_byte_for_byte():
    shards = [archive(shard_items()), archive(shard_items(nested=True)), archive([("wal", None), *shard_items()])]
    whole = composed(*shards)
    assert [split(whole, number) for number in range(3)] == shards


NAMES = st.text("ab-.ä", min_size=1, max_size=120).filter(lambda name: name not in (".", ".."))
FILES = st.dictionaries(NAMES, st.binary(max_size=1500), max_size=8)
RUNS = st.lists(st.booleans(), max_size=40)


@settings(max_examples=40, deadline=None)
@given(FILES, RUNS, st.integers(100, 4000), st.booleans())
def test_split_undoes_compose_for_any_files_and_chunks(files, runs, size, nested):
    prefix = f"segments/{SEGMENT}/files/vector_storage/"
    sparse = (512 * len(runs), [(512 * at, b"r" * 512) for at, stored in enumerate(runs) if stored])
    items = [(prefix + name, content) for name, content in files.items() if len((prefix + name).encode()) <= 300]
    items = [item for item in items if len(item[0].encode()) - len(prefix) <= 250]
    shard = archive([*items, (prefix + "sparse/x", sparse), *shard_items(nested=False)])
    other = archive(shard_items(nested=nested))
    whole = composed(shard, other, size=size)
    assert split(whole, 0, size) == shard
    assert split(whole, 1, size) == other


@pytest.mark.parametrize("length", range(95, 105))
def test_the_long_name_record_comes_and_goes_with_the_prefix(length):
    name = "segments/u/files/".ljust(length, "n")
    segment = [item for item in shard_items(segment="u") if item[0].startswith("segments/")]
    shard = archive([(name, b"content"), *segment, *shard_items()])
    whole = composed(shard)
    first = tar.parse_header(whole[:512])
    assert (first.type_flag == tar.LONG_NAME) == (length + 2 > 100)
    assert split(whole, 0) == shard


def test_a_ustar_prefix_does_not_survive_the_renaming():
    block = bytearray(tar.file_header("x.dat", 3))
    block[257:265] = b"ustar\x0000"
    block[345:500] = f"segments/{SEGMENT}/files".encode().ljust(155, b"\0")
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    shard = bytes(block) + b"abc" + tar.padding(3) + archive(shard_items())
    _, recorder = walk(composed(shard))
    assert recorder.contents[f"0/segments/{SEGMENT}/x.dat"] == b"abc"


def test_metadata_of_members_is_kept():
    header = bytearray(tar.file_header(f"segments/{SEGMENT}/files/x", 0, mode=0o600))
    header[136:148] = b"%011o\0" % 1795364028
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
    whole = composed(bytes(header) + archive(shard_items()))
    assert whole[136:148] == b"%011o\0" % 1795364028
    assert tar.parse_header(whole[:512]).mode == 0o600


def test_shard_keys_are_written_as_the_server_writes_them():
    streams = [(number, [archive(shard_items())]) for number in (1, 3)]
    keys = {"tenant": [1], 7: [3]}
    whole = b"".join(compose_collection(streams, config=config(1), payload_schema={}, shard_keys=keys))
    report, recorder = walk(whole)
    assert json.loads(recorder.contents["shard_key_mapping.json"]) == [
        {"key": "tenant", "shard_ids": [1]},
        {"key": 7, "shard_ids": [3]},
    ]
    assert report.shard_ids == (1, 3)


def test_a_schema_in_the_archives_own_form_is_kept():
    schema = {"a": "keyword", "b": {"type": "text", "tokenizer": "word"}}
    assert payload_index_document(schema) == {"schema": schema}


def test_config_may_be_given_as_bytes_and_is_kept_as_it_is():
    raw = b'{ "params": {"shard_number": 1}, "new_key": [1.50] }'
    whole = b"".join(compose_collection([(0, [archive(shard_items())])], config=raw, payload_schema={}))
    assert walk(whole)[1].contents["config.json"] == raw


def test_a_stream_that_broke_is_noticed_at_every_member_and_in_between():
    shard = archive(shard_items())
    for at in [*range(0, len(shard), 512), *range(100, len(shard), 700)]:
        with pytest.raises(IntegrityFailed, match="shard 0's archive is damaged"):
            composed(shard[:at])


def test_a_broken_second_shard_is_named():
    shard = archive(shard_items())
    with pytest.raises(IntegrityFailed, match="shard 1's archive"):
        composed(shard, shard[:-1024])


def test_shards_that_are_not_the_collections_are_refused():
    shard = archive(shard_items())
    for numbers in ([], [0], [0, 2], [1, 0], [0, 0], [0, 1, 2]):
        with pytest.raises(IntegrityFailed):
            list(compose_collection([(n, [shard]) for n in numbers], config=config(2), payload_schema={}))


def test_a_collection_archive_or_a_shard_without_data_cannot_stand_for_a_shard():
    empty = archive([("replica_state.json", ELSEWHERE), ("shard_config.json", b"{}")])
    for wrong in (archive(collection_items()), empty, b""):
        with pytest.raises(IntegrityFailed):
            composed(wrong)


def test_a_shard_that_is_not_there_cannot_be_split_off():
    whole = archive(collection_items())
    with pytest.raises(IntegrityFailed, match="does not hold the data of shard 1"):
        split(whole, 1)
    with pytest.raises(IntegrityFailed):
        split(whole[:-512], 0)
    with pytest.raises(IntegrityFailed):
        split(archive(shard_items()), 0)


def test_shard_1_is_not_taken_for_shard_11():
    items = [item for number in range(12) for item in shard_items(f"{number}/")]
    root = [(name, content) for name, content in collection_items(12) if "/" not in name]
    assert split(archive([*items, *root]), 1) == archive(shard_items())


def test_a_servers_snapshot_is_split_and_composed_to_the_same_members(original_backup: OriginalBackup):
    original = original_backup.snapshot("discussions").read_bytes()
    report, expected = walk(original, holes=False)
    assert report.config is not None
    assert report.payload_schema is not None
    shard = split(original, 0, 65536)
    assert walk(shard, holes=False)[0].kind == "shard"
    streams = [(0, chunked(shard, 65536))]
    again = b"".join(compose_collection(streams, config=report.config, payload_schema=report.payload_schema))
    _, recorder = walk(again, holes=False)
    assert {name: recorder.contents[name] for name in expected.contents if "/" in name} == {
        name: content for name, content in expected.contents.items() if "/" in name
    }
    assert len(again) == len(original)
    shared = original.index(b"version.info\0\0\0\0", original.rindex(b"0/shard_config.json"))
    assert again[:shared] == original[:shared]


def test_composing_and_splitting_need_no_more_memory_than_a_few_chunks():
    chunk = bytes(1 << 16)
    count = 800

    def stream():
        yield tar.file_header(f"segments/{SEGMENT}/files/matrix.dat", count * len(chunk))
        for _ in range(count):
            yield chunk
        yield archive(shard_items())

    tracemalloc.start()
    try:
        pieces = compose_collection([(0, stream())], config=config(1), payload_schema={})
        total = sum(len(piece) for piece in split_shard(pieces, 0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > count * len(chunk)
    assert peak < 20 * len(chunk)


def test_builders_and_helpers_agree_on_a_directory():
    assert tar.parse_header(member("0/wal", None)[:512]).name == b"0/wal/"
