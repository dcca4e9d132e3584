"""docs/format.md describes what is written: every key of every file, and digests to the byte."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from blake3 import blake3

from qdrant_backup import layout, manifest
from qdrant_backup.digest import END, HASH_SIZE, KEY_SIZE, MAGIC, DigestWriter, record_of
from qdrant_backup.storage import catalogue, golden, intents, journal_model

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text("utf-8")
TABLES = {
    "Keys of the manifest": manifest.Manifest,
    "Keys of a collection": manifest.CollectionEntry,
    "Keys of a shard": manifest.ShardEntry,
    "Keys of the server": manifest.ServerEntry,
    "Keys of a file": manifest.FileEntry,
    "Keys of a config file": manifest.ConfigEntry,
    "Keys of what was skipped": manifest.Skipped,
    "Keys of the catalogue": catalogue.Catalogue,
    "Keys of a catalogue entry": catalogue.CatalogueEntry,
    "Keys of a proof": catalogue.Proof,
    "Keys of a pin": catalogue.Pin,
    "Keys of the golden queries": golden.Golden,
    "Keys of a golden query": golden.GoldenQuery,
    "Keys of a golden answer": golden.GoldenAnswer,
    "Keys of an intent": intents.SnapshotIntent,
    "Keys of a journal": journal_model.Journal,
    "Keys of a journal's server": journal_model.JournalServer,
    "Keys of a target": journal_model.Target,
    "Keys of a target's prior state": journal_model.Prior,
    "Keys of a step": journal_model.Step,
}
NOT_WRITTEN = {"unknown"}  # holds the keys of a newer version in memory; they are put back where they were


def section(heading: str) -> str:
    [text] = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return text


@pytest.mark.parametrize("heading", TABLES)
def test_the_keys_on_the_page_are_the_keys_in_the_file(heading):
    documented = re.findall(r"^\| `(\w+)` \|", section(heading), re.MULTILINE)

    assert documented == [key for key in TABLES[heading].__struct_fields__ if key not in NOT_WRITTEN]


def test_every_table_of_keys_is_compared():
    assert sorted(re.findall(r"^### (Keys of .*)$", PAGE, re.MULTILINE)) == sorted(TABLES)


def test_every_state_of_a_target_is_named():
    [states] = re.findall(r"^\| `state` \| (`pending`.*) \|$", PAGE, re.MULTILINE)

    assert re.findall(r"`(\w+)`", states) == [state.value for state in journal_model.TargetState]


def test_every_level_of_a_proof_is_named():
    [levels] = re.findall(r"^\| `proofs` \| (.*) \|$", PAGE, re.MULTILINE)

    assert re.findall(r"`(\w+)`", levels) == [level.value for level in catalogue.Level]


@pytest.mark.parametrize(
    "name",
    [
        *(layout.MANIFEST, layout.CHECKSUMS, layout.RESTORE_TEXT, layout.LOCK, layout.CATALOGUE, layout.JOURNAL),
        *(
            layout.GOLDEN,
            f"{layout.DRILLS}/",
            f"{layout.INTENTS}/",
            f"{layout.UNDO}/",
            f"{layout.CONFIG_DIRECTORY}/",
            f"{layout.LOGS_DIRECTORY}/",
        ),
    ],
)
def test_every_name_in_a_backup_directory_is_explained(name):
    assert name in PAGE


def test_the_formats_are_the_ones_described():
    assert f"This page describes format {manifest.FORMAT}." in PAGE
    for heading, number in {
        "Keys of the manifest": manifest.FORMAT,
        "Keys of the catalogue": catalogue.CATALOGUE_FORMAT,
        "Keys of the golden queries": golden.GOLDEN_FORMAT,
        "Keys of an intent": intents.INTENT_FORMAT,
        "Keys of a journal": journal_model.JOURNAL_FORMAT,
    }.items():
        assert f"| `format` | {number} |" in section(heading)
    assert re.findall(r"^\| (\d+) \|", section("Changes"), re.MULTILINE)[-1] == str(manifest.FORMAT)


def test_the_digests_parts_have_the_sizes_on_the_page():
    text = section("Digests")

    assert f"| magic | {len(MAGIC)} | `{MAGIC.decode()}` |" in text
    assert f"| end | {len(END)} | `{END.decode()}` |" in text
    assert f"| records | {KEY_SIZE} + {HASH_SIZE} + {HASH_SIZE} for each vector name" in text
    assert f"| id | {KEY_SIZE} |" in text
    assert f"| payload | {HASH_SIZE} |" in text


def test_a_digest_can_be_read_by_the_page_alone():
    names = ["", "sparse"]
    vectors = {"": [1.0, 0.0], "sparse": {"indices": [7, 2], "values": [0.5, 0.25]}}
    file = io.BytesIO()
    writer = DigestWriter(file.write, names)
    writer.add([record_of(5, {"b": 1, "a": "x"}, vectors, names)])
    writer.add([record_of("00000000-0000-0000-0000-0000000000ff", None, {}, names)])
    summary = writer.finish()
    raw = file.getvalue()

    size = int.from_bytes(raw[8:12], "little")
    header, body = raw[12 : 12 + size], raw[12 + size :]
    assert raw[:8] == b"QDIGEST1"
    assert json.loads(header) == {"vectors": names}
    width = 17 + 16 + 16 * len(names)
    records, end = body[: 2 * width], body[2 * width :]
    assert records[:17] == b"\0" + (5).to_bytes(16, "big")
    assert records[width : width + 17] == b"\1" + (255).to_bytes(16, "big")
    assert records[17:33] == blake3(b'{"a":"x","b":1}').digest(16)
    assert records[33:49] == blake3(b"d\0\0\x80\x3f\0\0\0\0").digest(16)
    sparse = b"s" + (2).to_bytes(8, "little") + (7).to_bytes(8, "little") + b"\0\0\x80\x3e" + b"\0\0\0\x3f"
    assert records[49:65] == blake3(sparse).digest(16)
    assert records[width + 17 :] == blake3(b"{}").digest(16) + bytes(32)
    content = blake3(header + records).digest(32)
    assert end == b"END." + (2).to_bytes(8, "little") + content
    assert summary.content == content.hex()
