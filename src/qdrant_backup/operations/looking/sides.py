"""The two sides of a comparison: a backup, or what the server holds now. Each gives digests, points by id, and configs.

A backup's digest is the one it holds. Where it holds none, since the original scripts made it or its content was
unverified, it is computed anew by the engine. The live digest comes from a fresh snapshot of the collection. Points are
read only when somebody asks for them; that opens the backup in the embedded engine.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qdrant_backup.digest import DigestReader
from qdrant_backup.errors import CollectionMissing, IntegrityFailed
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.capture import content_of
from qdrant_backup.operations.looking.opening import open_backups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from qdrant_backup.manifest import CollectionEntry
    from qdrant_backup.operations.looking.opening import OpenedBackups, Searchable
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.qdrant.server import Server
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["LIVE", "BackupSide", "LiveSide", "Side", "Sides", "points_by_id"]

LIVE = "live"
_BATCH_IDS = 256
_KEPT_DIGEST = "content.digest"


class Side(Protocol):
    """One side.

    Attributes:
        name: a backup's id, or `live`.
        label: the same for people.
        knows_config: False for a backup of the original scripts, which kept no configuration.
    """

    name: str
    label: str
    knows_config: bool

    @property
    def collections(self) -> tuple[CollectionName, ...]:
        """The collections it has, sorted."""
        ...

    @property
    def aliases(self) -> Mapping[str, str]:
        """Alias to collection."""
        ...

    def known_content(self, name: CollectionName) -> str:
        """The digest's hash where it is known without reading anything; empty where it is not."""
        ...

    def digest(self, name: CollectionName) -> DigestReader:
        """The digest of a collection, open until the side's stack is left."""
        ...

    def schema(self, name: CollectionName) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """A collection's config and its payload indexes, as the server gave them."""
        ...

    def points(self, name: CollectionName) -> Server:
        """A server that has the points of a collection."""
        ...


def points_by_id(side: Side, name: CollectionName, ids: Sequence[int | str]) -> dict[int | str, dict[str, Any]]:
    """The points of these ids that the side has, with their payloads."""
    found: dict[int | str, dict[str, Any]] = {}
    left = iter(ids)
    while batch := list(itertools.islice(left, _BATCH_IDS)):
        found.update((point["id"], point) for point in side.points(name).retrieve(name, batch))
    return found


class Sides:
    """Makes sides whose files and servers live as long as this context."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.stack = contextlib.ExitStack()
        self._scratch: Path | None = None
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def side(self, reference: str) -> Side:
        """`live`, or the backup of that name; raises as `BackupDirectory.find` does."""
        if reference == LIVE:
            return LiveSide(self)
        return self.backup(self.ports.directory.find(reference))

    def backup(self, backup: StoredBackup) -> BackupSide:
        """A backup as a side; one that is damaged is refused.

        Raises:
            IntegrityFailed: a file is missing or was cut.
        """
        for finding in backup.findings:
            if finding.is_damage:
                raise IntegrityFailed(f"backup {backup.backup_id} is damaged", why=str(finding))
        return BackupSide(self, backup)

    def new_digest_path(self) -> Path:
        """Where a digest can be computed that is needed for this run only."""
        if self._scratch is None:
            made = tempfile.TemporaryDirectory(prefix="qdrant-backup-digests-")
            self._scratch = Path(self.stack.enter_context(made))
        return self._scratch / f"{next(self._numbers)}.digest"

    def reader(self, stream: io.BufferedIOBase, name: str) -> DigestReader:
        """A digest reader on a stream that is closed with this context."""
        self.stack.callback(stream.close)
        return DigestReader(stream, name)  # pyright: ignore[reportArgumentType] - BufferedIOBase is a BinaryIO

    def open(self, backup: StoredBackup, names: Sequence[CollectionName]) -> OpenedBackups:
        """Collections of a backup, opened in the embedded engine."""
        return self.stack.enter_context(open_backups(self.ports, [(backup, names)]))


class BackupSide:
    """A backup; see `Side`."""

    def __init__(self, sides: Sides, backup: StoredBackup) -> None:
        self.backup = backup
        self.name = str(backup.backup_id)
        self.label = f"{backup.backup_id}, finished {backup.finished_at:%Y-%m-%d %H:%M:%S} UTC"
        self.knows_config = not backup.manifest.by_original_scripts
        self._sides = sides
        self._opened: dict[CollectionName, OpenedBackups] = {}

    @property
    def collections(self) -> tuple[CollectionName, ...]:
        """Those of the manifest."""
        return tuple(sorted(CollectionName(name) for name in self.backup.manifest.collections))

    @property
    def aliases(self) -> Mapping[str, str]:
        """Those of the manifest."""
        return self.backup.manifest.aliases

    def entry(self, name: CollectionName) -> CollectionEntry:
        """The manifest's entry; raises `CollectionMissing`."""
        entry = self.backup.manifest.collections.get(name)
        if entry is None:
            raise CollectionMissing(
                f"backup {self.backup.backup_id} has no collection {name!r}",
                why=f"it holds {', '.join(self.collections) or 'none'}",
                advice="Check the spelling: names are case-sensitive.",
            )
        return entry

    def known_content(self, name: CollectionName) -> str:
        """The manifest's."""
        return self.entry(name).content

    def digest(self, name: CollectionName) -> DigestReader:
        """The backup's own digest, compared with the manifest; computed anew where it has none.

        Raises:
            IntegrityFailed: it is damaged, or is not the one the manifest means.
            ContentUnreadable: it has none, and the engine cannot open the snapshot.
        """
        entry = self.entry(name)
        if not entry.digest_file:
            return self._computed(name, entry)
        stream = io.BufferedReader(self.backup.open(entry.digest_file))  # pyright: ignore[reportArgumentType] - a FileIO
        reader = self._sides.reader(stream, f"{self.backup.backup_id}/{entry.digest_file}")
        if entry.content and reader.summary.content != entry.content:
            raise IntegrityFailed(
                f"{self.backup.path / entry.digest_file} is damaged", why="it is not the digest that the manifest means"
            )
        return reader

    def _computed(self, name: CollectionName, entry: CollectionEntry) -> DigestReader:
        """The digest of a collection that has none, kept with what opening it unpacked."""
        opened = self._open(name)
        kept = next(one.directory for one in opened.collections if one.name == name) / _KEPT_DIGEST
        if not kept.exists():
            path, ports = self._sides.new_digest_path(), self._sides.ports
            ports.engine.digest_file(self.backup.path / entry.snapshot, path, ports.progress)
            shutil.copy(path, kept.with_suffix(".new"))
            kept.with_suffix(".new").replace(kept)
        return self._sides.reader(kept.open("rb"), f"the digest of {name}")

    def schema(self, name: CollectionName) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The manifest's; that of the opened backup where the original scripts kept none."""
        entry = self.entry(name)
        if entry.config:
            return entry.config, entry.payload_schema
        info = self.points(name).collection(name)
        return info.config, info.payload_schema

    def points(self, name: CollectionName) -> Server:
        """The collection, opened in the embedded engine."""
        return self._open(name).server

    def searchable(self, names: Sequence[CollectionName]) -> Searchable:
        """These collections, opened together, so that one search ranks the points of all."""
        opened = self._sides.open(self.backup, names)
        self._opened.update(dict.fromkeys(names, opened))
        return opened

    def _open(self, name: CollectionName) -> OpenedBackups:
        if name not in self._opened:
            self._opened[name] = self._sides.open(self.backup, [name])
        return self._opened[name]


class LiveSide:
    """The server; see `Side`."""

    def __init__(self, sides: Sides) -> None:
        self.name = LIVE
        self._server = sides.ports.server
        self.label = f"live, {self._server.url}"
        self.knows_config = True
        self._sides = sides

    @property
    def collections(self) -> tuple[CollectionName, ...]:
        """All the key may see."""
        return self._server.collections()

    @property
    def aliases(self) -> Mapping[str, str]:
        """All the key may see."""
        return self._server.aliases()

    def known_content(self, name: CollectionName) -> str:  # noqa: ARG002 - the same for all
        """Never known beforehand."""
        return ""

    def digest(self, name: CollectionName) -> DigestReader:
        """Of a fresh snapshot."""
        path = self._sides.new_digest_path()
        content_of(self._sides.ports, name, path)
        return self._sides.reader(path.open("rb"), f"the digest of {name}")

    def schema(self, name: CollectionName) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """As it is now."""
        info = self._server.collection(name)
        return info.config, info.payload_schema

    def points(self, name: CollectionName) -> Server:  # noqa: ARG002 - the same for all
        """The server."""
        return self._server
