"""Good inputs to begin with, made by our own code: `python tests/fuzz/seeds.py` writes them to `tests/fuzz/corpus/`."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

from qdrant_backup import manifest
from qdrant_backup.archive import tar
from qdrant_backup.digest import DigestWriter, record_of
from qdrant_backup.model import BackupId, CollectionName
from qdrant_backup.storage import journal
from qdrant_backup.storage.journal_model import JournalServer, Prior, RestoreKind, Step, Target, TargetState
from support import archives
from support.stored import FIRST, manifest_of

__all__ = ["CORPUS", "seeds"]

CORPUS = Path(__file__).with_name("corpus")


def _digest(count: int, names: list[str]) -> bytes:
    written: list[bytes] = []
    writer = DigestWriter(written.append, names)
    vectors = {name: [1.0, 2.0] for name in names}
    writer.add(sorted(record_of(number, {"rank": number}, vectors, sorted(names)) for number in range(count)))
    writer.finish()
    return b"".join(written)


def _pair(one: bytes, other: bytes) -> bytes:
    return len(one).to_bytes(4, "little") + one + other


def _manifest() -> manifest.Manifest:
    files = [manifest.FileEntry(path="qdrant/docs.snapshot", size_bytes=1, sha256="0" * 64)]
    server = manifest.ServerEntry(version="1.18.3", peers=["a"])
    return manifest_of(
        FIRST,
        files=files,
        server=server,
        aliases={"talk": "docs"},
        config=[manifest.ConfigEntry(path="config/.env", original="docker/.env")],
        config_files=[".env"],
        skipped=[manifest.Skipped(what="x", reason="y")],
        unknown={"later": [1, {"a": None}]},
    )


def _journal() -> journal.Journal:
    moment = datetime(2026, 2, 3, 14, 30, 52, tzinfo=timezone.utc)
    step = Step(action="upload", intended_at=moment, detail={"name": "x"}, concluded_at=moment, outcome="done")
    target = Target(
        collection=CollectionName("docs"),
        source=CollectionName("docs"),
        prior=Prior(existed=True, config={"params": {}}, points=3, versions={"0": [1]}),
        state=TargetState.APPLYING,
        steps=(step, Step(action="move_alias", intended_at=moment)),
    )
    return journal.Journal(
        restore_id="2026-02-03_143052-ab",
        kind=RestoreKind.RESTORE,
        server=JournalServer(url="http://localhost:6333", version="1.18.3"),
        backup_id=BackupId("2026-02-03_143052"),
        backup_path="backups/2026-02-03_143052",
        started_at=moment,
        targets=(target,),
        aliases_before={"talk": "docs"},
    )


def seeds() -> dict[str, dict[str, bytes]]:
    """Target to name to bytes."""
    small = [
        ("version.info", b"0.4.2"),
        ("config.json", json.dumps(archives.CONFIG).encode()),
        ("shard_key_mapping.json", b"[]"),
        ("payload_index.json", b'{"schema":{}}'),
        *archives.shard_items("0/")[-4:],
        (f"0/segments/{archives.SEGMENT}/files/segment.json", b'{"version":1}'),
        (f"0/segments/{archives.SEGMENT}/files/version.info", b"0.6.0"),
    ]
    by_scripts = json.loads(manifest.encode(_manifest()))
    guide = ("backup_date", "qdrant_host", "qdrant_port", "collections", "config_files", "includes_logs")
    one, other = _digest(5, [""]), _digest(7, [""])
    return {
        "archive": {
            "collection": archives.archive(small),
            "nested": archives.archive(archives.collection_items(nested=True)),
            "shard": archives.archive(archives.shard_items()),
            "end": tar.END_BLOCKS,
        },
        "manifest": {
            "ours": manifest.encode(_manifest()),
            "by-scripts": json.dumps({key: by_scripts[key] for key in guide}).encode(),
        },
        "digest": {"plain": one, "named": _digest(3, ["text", "late"]), "empty": _digest(0, [])},
        "digests": {
            "same": _pair(one, one),
            "longer": _pair(one, other),
            "other-names": _pair(one, _digest(3, ["", "late"])),
        },
        "journal": {"open": journal.encode(_journal())},
    }


def main() -> None:
    for target, found in seeds().items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, data in found.items():
            (CORPUS / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
