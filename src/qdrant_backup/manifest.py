"""`manifest.json`: what a backup holds, and the proof that it is complete.

The keys of the guide's manifest keep their names and meanings (`backup_date`, `ai_memory_version`, `qdrant_host`,
`qdrant_port`, `collections.*.{name,records,snapshot_file,size_bytes,created_at}`, `config_files`, `includes_logs`); ours
stand beside them. A manifest without `format` is one that the guide's original scripts wrote. Unknown keys are kept, so
that an older tool that rewrites a manifest loses nothing of a newer one's. A manifest is hostile input: no path in it
is followed outside the backup, and none of its names is used unchecked (`Manifest.decode` has looked at all of them).
`docs/format.md` describes each key.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from qdrant_backup.errors import BackupInvalid, Incompatible
from qdrant_backup.layout import QDRANT_DIRECTORY, safe_relative_path

__all__ = ["FORMAT", "CollectionEntry", "FileEntry", "Manifest", "ServerEntry", "ShardEntry", "decode", "encode"]

FORMAT = 1
LONGEST_MANIFEST = 16 << 20
"""Some 100,000 files. A hostile one of this size takes 400 MB to read (empty lists), and a larger one is neither written nor read."""
_LARGEST_NUMBER = (1 << 63) - 1
_CHECKSUM = re.compile(r"[0-9a-f]{64}")


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the backup: its path below it, and what its bytes must be."""

    path: str
    size_bytes: int
    sha256: str


class ShardEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One shard as the backup holds it: from which peer, and how that peer called its state."""

    id: int
    key: str | int | None = None
    peer_id: int = 0
    state: str = ""


class ServerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The server a backup was made of."""

    version: str
    commit: str = ""
    peer_id: int = 0
    peers: list[str] = []


class CollectionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One collection of a backup.

    Attributes:
        records: points that the backup holds, counted in the archive; the server's own count where `content` is empty.
        points: the same number, only when it was counted in the archive.
        content: the digest's hash; empty when the engine could not open the archive (`unverified` says why).
        method: `snapshot` or `stream`.
        config: `result.config` of `GET /collections/{c}`, as the server gave it.
        payload_schema: `result.payload_schema` likewise.
        not_finite: vector name to points, at least, whose vector has NaN or an infinity in it.
    """

    name: str
    records: int
    snapshot_file: str
    size_bytes: int
    created_at: str = ""
    sha256: str = ""
    points: int | None = None
    content: str = ""
    digest_file: str = ""
    unverified: str = ""
    method: str = ""
    shards: list[ShardEntry] = []
    vector_names: list[str] = []
    config: dict[str, Any] = {}
    payload_schema: dict[str, Any] = {}
    not_finite: dict[str, int] = {}

    @property
    def snapshot(self) -> str:
        """The snapshot's path below the backup."""
        return f"{QDRANT_DIRECTORY}/{self.snapshot_file}"


class ConfigEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Where a file below `config/` came from."""

    path: str
    original: str
    mode: int = 0o600


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was asked for, or was there, and is not in the backup; and why."""

    what: str
    reason: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole manifest; `format` is 0 for one that the original scripts wrote."""

    backup_date: str
    qdrant_host: str
    qdrant_port: int
    collections: dict[str, CollectionEntry]
    ai_memory_version: str = "unknown"
    config_files: list[str] = []
    includes_logs: bool = False
    format: int = 0
    backup_id: str = ""
    tool_version: str = ""
    kind: str = "full"
    started_at: str = ""
    finished_at: str = ""
    server: ServerEntry | None = None
    aliases: dict[str, str] = {}
    config: list[ConfigEntry] = []
    files: list[FileEntry] = []
    skipped: list[Skipped] = []
    warnings: list[str] = []
    unknown: dict[str, Any] = {}

    @property
    def records(self) -> int:
        """Points in all collections together."""
        return sum(entry.records for entry in self.collections.values())

    @property
    def finished(self) -> str:
        """When it was finished, ISO 8601; the original scripts wrote one date only."""
        return self.finished_at or self.backup_date

    @property
    def by_original_scripts(self) -> bool:
        """Whether the guide's original scripts wrote it: no checksums, digests, config or aliases."""
        return self.format == 0


class _Format(msgspec.Struct, frozen=True):
    format: int = 0


def encode(manifest: Manifest) -> bytes:
    """The manifest as indented JSON, the guide's keys first, unknown keys put back where they came from."""
    raw = msgspec.to_builtins(manifest)
    unknown = raw.pop("unknown")
    raw = {**unknown, **raw}
    if manifest.by_original_scripts:
        raw.pop("format")
    guide = ["backup_date", "ai_memory_version", "qdrant_host", "qdrant_port", "collections", "config_files"]
    ordered = {key: raw[key] for key in [*guide, "includes_logs"]} | raw
    return msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n"


def decode(data: bytes, name: str = "manifest.json") -> Manifest:
    """Read and check a manifest.

    Raises:
        BackupInvalid: it is empty, no JSON, or lacks what every manifest has.
        Incompatible: its `format` is newer than this tool; looked at before anything else.
        IntegrityFailed: it names a path that is not inside the backup.
    """
    if not data.strip():
        raise BackupInvalid(f"{name} is empty", why="a backup's manifest is written last, so this one never finished")
    if len(data) > LONGEST_MANIFEST:
        raise BackupInvalid(f"{name} has {len(data)} bytes", why=f"no manifest has more than {LONGEST_MANIFEST}")
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found > FORMAT:
            raise Incompatible(
                f"{name} has format {found}",
                why=f"this version of qdrant-backup reads up to format {FORMAT}",
                advice="Install the newer qdrant-backup that wrote it.",
            )
        raw = msgspec.json.decode(data, type=dict[str, Any])
        raw["unknown"] = {key: raw.pop(key) for key in list(raw) if key not in _KNOWN}
        manifest = msgspec.convert(raw, Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackupInvalid(f"{name} is not a valid manifest", why=str(error)) from None
    _check(manifest, name)
    return manifest


_KNOWN = frozenset(Manifest.__struct_fields__) - {"unknown"}


def _require_counts(where: str, *numbers: int) -> None:
    for number in numbers:
        if not 0 <= number <= _LARGEST_NUMBER:
            raise BackupInvalid(f"{where} makes no sense", why=f"nothing has {number} bytes, points or versions")


def _check(manifest: Manifest, name: str) -> None:
    _require_counts(name, manifest.format)
    for key, entry in manifest.collections.items():
        if key != entry.name:
            raise BackupInvalid(f"{name} lists {entry.name!r} under {key!r}", why="a collection has one name")
        if "/" in safe_relative_path(entry.snapshot_file):
            safe_relative_path(f"../{entry.snapshot_file}")
        if entry.digest_file:
            safe_relative_path(entry.digest_file)
        _require_counts(f"{name} about {key!r}", entry.records, entry.size_bytes, entry.points or 0)
        if entry.sha256 and not _CHECKSUM.fullmatch(entry.sha256):
            raise BackupInvalid(f"{name} gives {key!r} the checksum {entry.sha256!r}", why="that is no SHA-256")
    for file in manifest.files:
        safe_relative_path(file.path)
        _require_counts(f"{name} about {file.path!r}", file.size_bytes)
        if not _CHECKSUM.fullmatch(file.sha256):
            raise BackupInvalid(f"{name} has no usable SHA-256 for {file.path!r}", why="one is written for every file")
    for config in manifest.config:
        safe_relative_path(config.path)
    for path in manifest.config_files:
        safe_relative_path(path)
    if len({file.path for file in manifest.files}) != len(manifest.files):
        raise BackupInvalid(f"{name} lists a file twice", why="each file stands in it once")
