"""The data directory: every collection, every alias, every stored snapshot; and what changes them as a whole.

DATA/registry.json                          names, configurations, aliases (registry.py)
DATA/collections/<uuid>/<shard>/            the engine's files
DATA/snapshots/<collection>/...             stored snapshots (snapshots.py)
DATA/tmp/                                   cleared at the start
"""

from __future__ import annotations

import secrets
import shutil
import threading
import uuid
from typing import IO, TYPE_CHECKING

from qdrant_backup.engine.rest.answers import ApiError, already_exists, bad_input, collection_missing, not_found
from qdrant_backup.engine.rest.collection import Collection
from qdrant_backup.engine.rest.defaults import changed_config, check_name, complete_config
from qdrant_backup.engine.rest.registry import Record, Registry
from qdrant_backup.engine.rest.schema import edge_config
from qdrant_backup.errors import Locked

try:
    import fcntl
except ImportError:  # Windows, where two servers on one directory fail at the engine's own log
    fcntl = None

if TYPE_CHECKING:
    from pathlib import Path

    from qdrant_backup.clock import Clock
    from qdrant_backup.engine.rest.values import JsonObject

__all__ = ["Storage"]


def _hold(path: Path) -> IO[bytes]:
    """Take the directory for this process; the lock goes with it, however it ends."""
    held = path.open("ab")
    if fcntl is not None:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.close()
            what = f"{path.parent} is being served by another process"
            raise Locked(what, advice="End the other server, or choose another directory.") from None
    return held


class Storage:
    """What one server process serves.

    Args:
        directory: its data directory; made when missing.
        clock: the time.

    Attributes:
        process_id: telemetry's id, another one after every start.
        peer_id: stays the same across restarts.

    Raises:
        Locked: another process serves that directory.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self.clock = clock
        self.process_id = str(uuid.uuid4())
        self.started = clock.now()
        self.lock = threading.RLock()
        self._registry_path = directory / "registry.json"
        directory.mkdir(parents=True, exist_ok=True)
        self._held = _hold(directory / "lock")
        for name in ("collections", "snapshots"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        self._registry = Registry.load(self._registry_path) or Registry(peer_id=secrets.randbits(48))
        self.save()
        self.collections = {name: self._opened(name, record) for name, record in self._registry.collections.items()}
        self._remove_strays()

    @property
    def temporary(self) -> Path:
        """Where archives are built and unpacked; on the same filesystem as everything else."""
        return self.directory / "tmp"

    @property
    def peer_id(self) -> int:
        """This server's number."""
        return self._registry.peer_id

    @property
    def aliases(self) -> dict[str, str]:
        """Alias to collection."""
        return self._registry.aliases

    def _opened(self, name: str, record: Record) -> Collection:
        return Collection(name, record, self.directory / "collections" / record.directory)

    def _remove_strays(self) -> None:
        """Directories of collections that were being created or deleted when the process was killed."""
        known = {record.directory for record in self._registry.collections.values()}
        for path in (self.directory / "collections").iterdir():
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def save(self) -> None:
        """Make what changed in the registry durable."""
        with self.lock:
            self._registry.save(self._registry_path)

    def resolve(self, name: str) -> str:
        """The collection behind a name that may be an alias."""
        return self.aliases.get(name, name)

    def collection(self, name: str) -> Collection:
        """A collection by its name or by an alias.

        Raises:
            ApiError: 404.
        """
        found = self.collections.get(self.resolve(name))
        if found is None:
            raise collection_missing(name)
        return found

    def create(self, name: str, request: JsonObject) -> Collection:
        """Create a collection as `PUT /collections/{c}` asks.

        Raises:
            ApiError: 400, 409 or 422.
        """
        check_name(name)
        with self.lock:
            if name in self.collections:
                raise already_exists(name)
            if name in self.aliases:
                description = f"Can't create collection with name {name}. Alias with the same name already exists"
                raise bad_input(description)
        return self.add(name, complete_config(request), {})

    def add(self, name: str, config: JsonObject, schema: JsonObject) -> Collection:
        """Create a collection with a complete configuration, and indexes on the fields of `schema`.

        Raises:
            ApiError: 400, the engine cannot keep it.
        """
        _ = edge_config(config)
        record = Record(str(uuid.uuid4()), config, schema)
        made = self._opened(name, record)
        with self.lock:
            self._registry.collections[name] = record
            self.save()
            self.collections[name] = made
        return made

    def delete(self, name: str) -> bool:
        """Delete a collection and its aliases; its stored snapshots stay, out of reach. False when there is none."""
        with self.lock:
            gone = self.collections.pop(name, None)
            if gone is None:
                return False
            del self._registry.collections[name]
            for alias in [alias for alias, target in self.aliases.items() if target == name]:
                del self.aliases[alias]
            self.save()
        gone.close()
        shutil.rmtree(gone.directory, ignore_errors=True)
        return True

    def change(self, name: str, request: JsonObject) -> None:
        """Change settings as `PATCH /collections/{c}` asks.

        Raises:
            ApiError: 404, or 400 for a vector that does not exist.
        """
        found = self.collection(name)
        with found.lock:
            found.record.config = changed_config(found.record.config, request)
        self.save()

    def change_aliases(self, actions: list[JsonObject]) -> None:
        """Apply alias actions one by one, as the server does: those before a failing one stay applied.

        Raises:
            ApiError: 400, 404 or 409.
        """
        with self.lock:
            for action in actions:
                (kind, given), *_ = action.items()
                self._change_alias(kind, given)
                self.save()

    def _change_alias(self, kind: str, given: JsonObject) -> None:
        if kind == "create_alias":
            alias, target = given["alias_name"], given["collection_name"]
            if target not in self.collections:
                raise collection_missing(target)
            if alias in self.collections:
                raise already_exists(alias)
            self.aliases[alias] = target
        elif kind == "delete_alias":
            self.aliases.pop(given["alias_name"], None)
        elif kind == "rename_alias":
            old, new = given["old_alias_name"], given["new_alias_name"]
            if old not in self.aliases:
                description = f"Alias {old} does not exists!"
                raise not_found(description)
            if new in self.collections:
                raise already_exists(new)
            self.aliases[new] = self.aliases.pop(old)
        else:
            message = "Format error in JSON body: data did not match any variant of untagged enum AliasOperations"
            raise ApiError(400, message)

    def close(self) -> None:
        """Flush everything and let go of the files."""
        for collection in self.collections.values():
            collection.close()
        self._held.close()
