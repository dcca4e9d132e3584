"""Opens backups: each collection is unpacked into the cache and served, for reading only, by a guarded child process.

What is asked of a backup is then asked as of any Qdrant server: through `OpenedBackups.server`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from typing import TYPE_CHECKING

from qdrant_backup.clock import SystemClock
from qdrant_backup.engine.opened import ArchiveSource, Wanted
from qdrant_backup.errors import (
    BackupInvalid,
    CollectionMissing,
    ConnectionFailed,
    ContentUnreadable,
)
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.events import Warned
from qdrant_backup.qdrant.http import Http
from qdrant_backup.qdrant.server import Server
from qdrant_backup.qdrant.target import Target
from qdrant_backup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from qdrant_backup.engine.opened import Opened
    from qdrant_backup.manifest import CollectionEntry
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["Address", "OpenedBackups", "OpenedCollection", "Searchable", "named_entry", "open_backups"]

LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Address:
    """Where opened backups are served, and the key that reading them takes; None lets everybody here read."""

    api_key: Secret | None
    host: str = LOOPBACK
    port: int = 0


@dataclasses.dataclass(frozen=True)
class OpenedCollection:
    """A collection that can be read.

    Attributes:
        name: what the server calls it: its own name, or `name@backup` where several backups are open.
        entry: what its backup's manifest says of it.
        directory: a directory of this process's own that stays: for what is computed from it and worth keeping.
    """

    name: CollectionName
    entry: CollectionEntry
    backup: StoredBackup
    directory: Path


@dataclasses.dataclass(frozen=True)
class Searchable:
    """Collections of backups that a server has, be it the embedded engine's or another that they were restored into.

    Attributes:
        server: reads them.
        collections: in the order they were asked for.
    """

    server: Server
    collections: tuple[OpenedCollection, ...]


@dataclasses.dataclass(frozen=True)
class OpenedBackups(Searchable):
    """Backups that can be read; the server refuses to write.

    Attributes:
        port: the REST port.
    """

    port: int
    _opened: Opened

    def wait(self) -> None:
        """Wait until the server ends by itself, which it should not; raises how it ended."""
        self._opened.wait()


@contextlib.contextmanager
def open_backups(
    ports: Ports,
    chosen: Sequence[tuple[StoredBackup, Sequence[str] | None]],
    address: Address | None = None,
) -> Generator[OpenedBackups]:
    """Open collections of backups, and serve them until the context is left. The backups are only read.

    Args:
        ports: the edges; its own server is not touched.
        chosen: backups, and the names of their collections (or aliases); None for all that the engine can open.
        address: where to serve; by default on a free port, with a key that nobody else knows.

    Raises:
        CollectionMissing: a backup has no collection of that name.
        BackupInvalid: a file that is needed is missing or has another size.
        IntegrityFailed: a snapshot is damaged or hostile.
        ContentUnreadable: the engine cannot open a collection that was named.
        InsufficientSpace, NotWritable: the cache has no room, or cannot be written.
    """
    address = address or Address(Secret(ports.token()))
    several = len(chosen) > 1
    found = [
        (f"{entry.name}@{backup.backup_id}" if several else entry.name, entry, backup)
        for backup, names in chosen
        for entry in _entries(backup, names, ports)
    ]
    wanted = [Wanted(name, _source(entry, backup)) for name, entry, backup in found]
    with _explained(), contextlib.ExitStack() as stack:
        opened = stack.enter_context(
            ports.openings.served(
                wanted,
                api_key=address.api_key.reveal() if address.api_key else None,
                aliases=_aliases(chosen, {name for name, *_ in found}, several=several),
                host=address.host,
                port=address.port,
                progress=ports.progress,
            )
        )
        host = f"[{address.host}]" if ":" in address.host else address.host
        target = Target.parse(f"http://{host}:{opened.port}", api_key=address.api_key)
        server = Server(Http(dataclasses.replace(target, allow_plain_http=True), clock=SystemClock()))
        stack.callback(server.close)
        collections = tuple(
            OpenedCollection(CollectionName(name), entry, backup, opened.directories[name])
            for name, entry, backup in found
        )
        with _broken_by(opened):
            yield OpenedBackups(server, collections, opened.port, opened)


@contextlib.contextmanager
def _explained() -> Generator[None]:
    """Advice that fits: here nothing is restored or backed up."""
    try:
        yield
    except ContentUnreadable as error:
        if error.advice == ContentUnreadable.default_advice:
            error.advice = "Choose the other collections with --collection, or restore it into a server that reads it."
        raise


@contextlib.contextmanager
def _broken_by(opened: Opened) -> Generator[None]:
    """A connection that breaks because the engine died is the engine's failure, not the network's."""
    try:
        yield
    except ConnectionFailed as error:
        death = opened.death()
        if death is None:
            raise
        raise death from error


def _entries(backup: StoredBackup, names: Sequence[str] | None, ports: Ports) -> list[CollectionEntry]:
    held = backup.manifest.collections
    if names is None:
        for entry in held.values():
            if entry.unverified:
                ports.tell(Warned(f"{entry.name} of {backup.backup_id} is left out: {entry.unverified}"))
        found = [entry for entry in held.values() if not entry.unverified]
    else:
        found = [named_entry(backup, name) for name in dict.fromkeys(names)]
    for entry in found:
        _require_there(backup, entry)
    return found


def named_entry(backup: StoredBackup, name: str) -> CollectionEntry:
    """The entry of a collection that is named by its name or an alias; raises CollectionMissing."""
    held = backup.manifest.collections
    found = held.get(backup.manifest.aliases.get(name, name))
    if found is None:
        raise CollectionMissing(
            f"Backup {backup.backup_id} has no collection {name!r}",
            why=f"it has {', '.join(sorted(held)) or 'none'}",
            advice="Check the spelling: names are case-sensitive.",
        )
    return found


def _require_there(backup: StoredBackup, entry: CollectionEntry) -> None:
    for finding in backup.findings:
        if finding.is_damage and finding.path == entry.snapshot:
            raise BackupInvalid(
                f"Collection {entry.name!r} of backup {backup.backup_id} cannot be opened", why=str(finding)
            )


def _source(entry: CollectionEntry, backup: StoredBackup) -> ArchiveSource:
    return ArchiveSource(
        f"{entry.name} of {backup.backup_id}",
        entry.sha256 or _identity(entry, backup),
        entry.size_bytes,
        entry.sha256,
        lambda: backup.blocks(entry.snapshot),
    )


def _identity(entry: CollectionEntry, backup: StoredBackup) -> str:
    """For a backup without checksums, as the original scripts made them: which file it is, and since when."""
    with backup.open(entry.snapshot) as stream:
        status = os.fstat(stream.fileno())
    which = f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {backup.path / entry.snapshot}"
    return hashlib.sha256(which.encode("utf-8", "surrogatepass")).hexdigest()


def _aliases(
    chosen: Sequence[tuple[StoredBackup, Sequence[str] | None]], served: set[str], *, several: bool
) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for backup, _ in chosen:
        mark = f"@{backup.backup_id}" if several else ""
        for alias, name in backup.manifest.aliases.items():
            if name + mark in served and alias + mark not in served:
                aliases[alias + mark] = name + mark
    return aliases
