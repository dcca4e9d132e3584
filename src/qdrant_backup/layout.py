"""Every name on disk, in both directions.

A backup directory holds

    2026-02-03_143052/               a published backup (UTC; `-2`, `-3`, ... for more in the same second)
    .2026-02-03_143052.partial/      a backup being written; not a backup
    .2026-02-03_143052.deleting/     a backup being deleted; not a backup
    .safety-2026-02-03_143052/       a safety backup: what a restore replaced
    .lock  .catalogue.json  .golden.json  .restore-journal.json  .intents/  .undo/  .drills/

and a backup holds

    manifest.json  SHA256SUMS  RESTORE.txt
    qdrant/<collection>.snapshot
    digest/<collection>.digest
    config/settings.json  config/.env  config/docker/.env  ...
    logs/...

A collection's name becomes a file's name by `file_stem`: ASCII letters in lower case, digits, `-`, `_`, inner `.` and
every non-ASCII letter that is its own lower case stay; each other character becomes `%XX` for each byte of its UTF-8.
Upper-case letters are escaped too (`Docs` is `%44ocs`), so that two collections that differ in case alone keep two files
on a filesystem that does not tell case apart; with them the names Windows reserves (`con`, `nul`, ...) are escaped.
A stem over 180 bytes keeps its first 100 and ends in `%~` and a hash; the manifest, not the file, holds the name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from qdrant_backup.errors import IntegrityFailed
from qdrant_backup.model import BackupId, CollectionName

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = [
    "CATALOGUE",
    "CHECKSUMS",
    "CONFIG_DIRECTORY",
    "DRILLS",
    "GOLDEN",
    "INTENTS",
    "JOURNAL",
    "LOCK",
    "LOGS_DIRECTORY",
    "MANIFEST",
    "RESTORE_TEXT",
    "UNDO",
    "backup_id_at",
    "backup_name",
    "collection_of_stem",
    "deleting_name",
    "digest_path",
    "file_stem",
    "id_moment",
    "is_backup_name",
    "partial_name",
    "safe_relative_path",
    "safety_name",
    "snapshot_path",
    "unused_backup_id",
]

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
RESTORE_TEXT = "RESTORE.txt"
QDRANT_DIRECTORY = "qdrant"
DIGEST_DIRECTORY = "digest"
CONFIG_DIRECTORY = "config"
LOGS_DIRECTORY = "logs"

LOCK = ".lock"
CATALOGUE = ".catalogue.json"
GOLDEN = ".golden.json"
JOURNAL = ".restore-journal.json"
INTENTS = ".intents"
UNDO = ".undo"
DRILLS = ".drills"

_ID = re.compile(r"(\d{4})-(\d{2})-(\d{2})_(\d{2})(\d{2})(\d{2})(?:-([1-9]\d*))?")
_FORMAT = "%Y-%m-%d_%H%M%S"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_%-][A-Za-z0-9_%.-]*(?:/[A-Za-z0-9_%-][A-Za-z0-9_%.-]*)*")
_KEPT = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
_LONGEST_STEM = 180
_KEPT_OF_LONG = 100
_HASH_MARK = "%~"


def backup_id_at(moment: datetime) -> BackupId:
    """The id of a backup begun at that moment: its UTC second."""
    return BackupId(moment.astimezone(timezone.utc).strftime(_FORMAT))


def unused_backup_id(moment: datetime, taken: Container[str]) -> BackupId:
    """The first id for that second which is not in `taken`; an id is never used twice."""
    first = backup_id_at(moment)
    candidate, number = first, 1
    while candidate in taken:
        number += 1
        candidate = BackupId(f"{first}-{number}")
    return candidate


def is_backup_name(name: str) -> bool:
    """Whether a directory's name is one that a published backup can have."""
    return _ID.fullmatch(name) is not None


def id_moment(backup_id: str) -> tuple[datetime, int] | None:
    """When a backup of that id was begun, and its number within that second; None for other names."""
    match = _ID.fullmatch(backup_id)
    if match is None:
        return None
    try:
        # Not `strptime`: what it loads at its first call would be a tenth of the time that `list` takes.
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None
    return moment, int(match[7] or 1)


def backup_name(backup_id: BackupId, *, safety: bool = False) -> str:
    """The directory's name of a published backup of either kind."""
    return safety_name(backup_id) if safety else backup_id


def safety_name(backup_id: BackupId) -> str:
    """The directory's name of a safety backup."""
    return f".safety-{backup_id}"


def partial_name(backup_id: BackupId) -> str:
    """The directory's name of a backup that is being written."""
    return f".{backup_id}.partial"


def deleting_name(backup_id: BackupId) -> str:
    """The directory's name of a backup that is being deleted."""
    return f".{backup_id}.deleting"


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def _keeps(character: str) -> bool:
    if character in _KEPT:
        return True
    # Filesystems fold case and normalise accents; what either could change is escaped.
    return (
        not character.isascii()
        and character.isalnum()
        and character.casefold() == character
        and unicodedata.normalize("NFD", character) == character
        and unicodedata.normalize("NFKC", character) == character
    )


def file_stem(collection: CollectionName) -> str:
    """The file name, without its ending, that a collection's files have; see the top of this module."""
    stem = "".join(character if _keeps(character) else _escaped(character) for character in collection)
    if stem.startswith("."):
        stem = _escaped(".") + stem[1:]
    if stem.endswith("."):
        stem = stem[:-1] + _escaped(".")
    if stem.split(".", 1)[0] in _RESERVED:
        stem = _escaped(stem[0]) + stem[1:]
    if len(stem.encode()) <= _LONGEST_STEM:
        return stem
    digest = hashlib.sha256(collection.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    head = stem.encode()[:_KEPT_OF_LONG].decode("utf-8", "ignore")
    return f"{head}{_HASH_MARK}{digest}"


def collection_of_stem(stem: str) -> CollectionName | None:
    """The collection that `file_stem` gives this stem for; None when the name was too long to be kept in it."""
    if _HASH_MARK in stem:
        return None
    raw = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), stem.encode())
    return CollectionName(raw.decode("utf-8", "surrogatepass"))


def snapshot_path(collection: CollectionName) -> str:
    """Where a backup keeps a collection's snapshot, relative to the backup."""
    return f"{QDRANT_DIRECTORY}/{file_stem(collection)}.snapshot"


def digest_path(collection: CollectionName) -> str:
    """Where a backup keeps a collection's digest, relative to the backup."""
    return f"{DIGEST_DIRECTORY}/{file_stem(collection)}.digest"


def safe_relative_path(text: str) -> str:
    """`text` itself, when it names a file below the backup and nothing else.

    Raises:
        IntegrityFailed: it is empty, absolute, climbs (`..`), or holds what no path of ours holds. A manifest is hostile
            input: who can write one must not be able to make us read or send another file.
    """
    if _PLAIN_PATH.fullmatch(text):  # Nearly every path is; what follows judges the rest, character by character.
        return text
    parts = text.split("/")
    bad = any(part in {"", ".", ".."} for part in parts) or "\\" in text or ":" in parts[0]
    if bad or any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise IntegrityFailed(f"the manifest names the file {text!r}", why="that is not a path inside the backup")
    return text
