"""What a long operation says while it works. `cli/` turns these into the guide's lines."""

from __future__ import annotations

import dataclasses

__all__ = [
    "AliasRestored",
    "BackupBegun",
    "CollectionBackedUp",
    "CollectionBegun",
    "CollectionRecovered",
    "CollectionSkipped",
    "ConfigBackedUp",
    "ConfigBegun",
    "ConfigFailedEvent",
    "ConfigRestored",
    "Connected",
    "Event",
    "LogsBackedUp",
    "ManifestChecked",
    "Note",
    "OutcomeKnown",
    "RestoreBegun",
    "SafetyBegun",
    "SafetyDone",
    "SnapshotChecked",
    "SnapshotUploaded",
    "SpaceChecked",
    "Warned",
    "say_nothing",
]


class Event:
    """The root of all events."""


def say_nothing(_: Event) -> None:
    """Takes events for nobody."""


@dataclasses.dataclass(frozen=True)
class Note(Event):
    """A wait, a retry, a change of method and why. Not part of the guide's output: shown on standard error."""

    text: str


@dataclasses.dataclass(frozen=True)
class Warned(Event):
    """Something the user should know although the run goes on; also kept in the manifest or the report."""

    text: str


@dataclasses.dataclass(frozen=True)
class BackupBegun(Event):
    """The lock is held and the backup has its id: the guide's first lines. `host` and `port` are the server's."""

    path: str
    host: str
    port: int


@dataclasses.dataclass(frozen=True)
class SpaceChecked(Event):
    """There is room: so many bytes are free where the backup goes."""

    free_bytes: int


@dataclasses.dataclass(frozen=True)
class CollectionBegun(Event):
    """A collection's backup is the next that will be reported."""

    name: str


@dataclasses.dataclass(frozen=True)
class CollectionBackedUp(Event):
    """A collection's archive is written, checked and (unless `unverified` says why not) digested."""

    name: str
    records: int
    size_bytes: int
    unverified: str = ""


@dataclasses.dataclass(frozen=True)
class CollectionSkipped(Event):
    """A collection vanished while the backup ran."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ConfigBegun(Event):
    """Config files are next."""


@dataclasses.dataclass(frozen=True)
class ConfigBackedUp(Event):
    """One config file is in the backup, under this name below `config/`."""

    name: str


@dataclasses.dataclass(frozen=True)
class ConfigFailedEvent(Event):
    """One config file is not in the backup."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class LogsBackedUp(Event):
    """The log files are in the backup."""

    files: int
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class ManifestChecked(Event):
    """Restore: there is a backup with a valid manifest; its dates as the manifest writes them."""

    path: str
    backup_date: str
    ai_memory_version: str


@dataclasses.dataclass(frozen=True)
class SnapshotChecked(Event):
    """Restore: one snapshot's bytes are what the manifest says."""

    file: str
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Connected(Event):
    """Restore: the server answers and the rights suffice."""

    host: str
    port: int
    version: str


@dataclasses.dataclass(frozen=True)
class SafetyBegun(Event):
    """Restore: the targets that exist are backed up first."""

    collections: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SafetyDone(Event):
    """Restore: the safety backup stands."""

    path: str
    records: int
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class RestoreBegun(Event):
    """Restore: one collection's apply starts; `target` differs from `name` with --rename."""

    name: str
    target: str
    records: int


@dataclasses.dataclass(frozen=True)
class SnapshotUploaded(Event):
    """Restore: the server took the archive."""

    target: str


@dataclasses.dataclass(frozen=True)
class CollectionRecovered(Event):
    """Restore: the target's content was read back and is the backup's (or could not be judged, and `unverified` says why)."""

    target: str
    unverified: str = ""


@dataclasses.dataclass(frozen=True)
class AliasRestored(Event):
    """Restore: an alias points where the backup says."""

    alias: str
    target: str


@dataclasses.dataclass(frozen=True)
class ConfigRestored(Event):
    """Restore: a config file was put back; the old one is kept as `kept_as` where there was one."""

    name: str
    path: str
    kept_as: str = ""


@dataclasses.dataclass(frozen=True)
class OutcomeKnown(Event):
    """A failed restore's last word on one target: `new content`, `previous content`, `gone`, `untouched` or `NOT RESTORED`."""

    target: str
    outcome: str
