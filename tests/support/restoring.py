"""A workbench for restores: a server with content, a backup directory, and the operations on them as one object."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import secrets
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from qdrant_backup.clock import Clock
from qdrant_backup.engine.engine import Engine
from qdrant_backup.engine.opened import Openings
from qdrant_backup.installation.installation import Installation
from qdrant_backup.model import NO_PROGRESS
from qdrant_backup.operations.backup import BackupRequest, backup
from qdrant_backup.operations.events import Event, OutcomeKnown, Warned
from qdrant_backup.operations.ports import Ports
from qdrant_backup.operations.restore.differences import normal_config, normal_schema
from qdrant_backup.operations.restore.outcome import RestoreReport
from qdrant_backup.operations.restore.requests import RestoreRequest, UndoRequest
from qdrant_backup.operations.restore.resume import resume
from qdrant_backup.operations.restore.run import restore
from qdrant_backup.operations.restore.undo import undo
from qdrant_backup.qdrant.http import Http
from qdrant_backup.qdrant.server import Server
from qdrant_backup.qdrant.target import Target
from qdrant_backup.secret import Secret
from qdrant_backup.storage.directory import BackupDirectory
from qdrant_backup.storage.journal import Journal, JournalFile
from qdrant_backup.storage.stored import StoredBackup
from support.clocks import BriskClock
from support.servers import API_KEY, RunningServer

__all__ = ["Lab", "NoisyServer", "named_config", "path_of", "plain_config", "points_of"]

SIZE = 4


def path_of(collection: str, *rest: str) -> str:
    return "/".join(["/collections", urllib.parse.quote(collection, safe=""), *rest])


def plain_config(size: int = SIZE) -> dict[str, Any]:
    return {"vectors": {"size": size, "distance": "Dot"}}


def named_config() -> dict[str, Any]:
    """Named, sparse and multivectors, quantization and its own HNSW: what a config can have."""
    return {
        "vectors": {
            "text": {"size": SIZE, "distance": "Cosine"},
            "late": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"words": {"modifier": "idf"}},
        "hnsw_config": {"m": 8, "ef_construct": 50},
        "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99}},
    }


def points_of(count: int, *, seed: int = 1, named: bool = False, first: int = 0) -> list[dict[str, Any]]:
    dice = random.Random(seed)
    points: list[dict[str, Any]] = []
    for number in range(first, first + count):
        dense = [dice.uniform(-1, 1) for _ in range(SIZE)]
        vector: Any = dense
        if named:
            vector = {
                "text": dense,
                "late": [[dice.random(), dice.random()] for _ in range(2)],
                "words": {"indices": [1, 5, number + 7], "values": [dice.random() + 0.1 for _ in range(3)]},
            }
        identity = number if number % 2 else str(uuid.UUID(int=number + 1))
        payload = {"text": f"memory {number} of {seed}", "group": f"g{number % 3}", "rank": number, "part": {"x": 0.5}}
        points.append({"id": identity, "vector": vector, "payload": payload})
    return points


class Recorder:
    """Keeps the events; prints nothing."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def outcomes(self) -> dict[str, str]:
        return {event.target: event.outcome for event in self.of(OutcomeKnown)}

    @property
    def warnings(self) -> str:
        return "\n".join(event.text for event in self.of(Warned))


class NoisyServer(Server):
    """A server client that misbehaves on demand: `hooks` maps a call's name to what is called in its place.

    A hook gets the real call as its first argument, then what the caller gave.
    """

    def __init__(self, http: Http) -> None:
        super().__init__(http)
        self.hooks: dict[str, Callable[..., Any]] = {}
        self.called: list[tuple[str, tuple[Any, ...]]] = []

    def _hooked(self, call: str, *args: Any, **kwargs: Any) -> Any:
        self.called.append((call, args))
        real = getattr(super(), call)
        hook = self.hooks.get(call)
        return real(*args, **kwargs) if hook is None else hook(real, *args, **kwargs)

    def upload_snapshot(self, *args: Any, **kwargs: Any) -> Any:
        return self._hooked("upload_snapshot", *args, **kwargs)

    def delete_collection(self, *args: Any, **kwargs: Any) -> Any:
        return self._hooked("delete_collection", *args, **kwargs)

    def create_alias(self, *args: Any, **kwargs: Any) -> Any:
        return self._hooked("create_alias", *args, **kwargs)

    def create_payload_index(self, *args: Any, **kwargs: Any) -> Any:
        return self._hooked("create_payload_index", *args, **kwargs)

    def create_snapshot(self, *args: Any, **kwargs: Any) -> Any:
        return self._hooked("create_snapshot", *args, **kwargs)

    def create_collection(self, *args: Any, **kwargs: Any) -> Any:
        return self._hooked("create_collection", *args, **kwargs)

    def calls(self, name: str) -> list[tuple[Any, ...]]:
        return [args for call, args in self.called if call == name]


@dataclasses.dataclass
class Lab:
    """One server, one backup directory.

    Attributes:
        running: the server process.
        root: the backup directory.
        ports: what the operations act through; its server is a `NoisyServer`.
        clock: see `BriskClock` for when to take another.
    """

    running: RunningServer
    root: Path
    scratch: Path
    told: Recorder = dataclasses.field(default_factory=Recorder)
    clock: Clock = dataclasses.field(default_factory=BriskClock)
    wait_s: float = 60.0
    api_key: str = API_KEY

    def __post_init__(self) -> None:
        target = Target.parse(self.running.url, api_key=Secret(self.api_key))
        self.server = NoisyServer(Http(dataclasses.replace(target, silence_s=60.0), clock=self.clock))
        self.install = self.scratch / "install"
        self.ports = Ports(
            server=self.server,
            engine=Engine(scratch=self.scratch / "engine"),
            openings=Openings(self.scratch / "opened"),
            directory=BackupDirectory(self.root),
            installation=Installation(self.install),
            clock=self.clock,
            progress=NO_PROGRESS,
            tell=self.told,
            token=lambda: secrets.token_hex(12),
            server_wait_s=self.wait_s,
        )

    # What stands on the server

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.running.call(method, path, body)
        assert status == 200, (method, path, status, answer)
        return answer["result"]

    def make(
        self,
        name: str,
        points: Iterable[dict[str, Any]],
        config: dict[str, Any] | None = None,
        indexes: dict[str, Any] | None = None,
    ) -> None:
        self.call("PUT", path_of(name), config or plain_config())
        for field, schema in (indexes or {}).items():
            self.index(name, field, schema)
        self.put(name, points)

    def index(self, name: str, field: str, schema: Any) -> None:
        self.call("PUT", path_of(name, "index?wait=true"), {"field_name": field, "field_schema": schema})

    def put(self, name: str, points: Iterable[dict[str, Any]]) -> None:
        given = list(points)
        if given:
            self.call("PUT", path_of(name, "points?wait=true"), {"points": given})

    def alias(self, alias: str, collection: str) -> None:
        action = {"create_alias": {"alias_name": alias, "collection_name": collection}}
        self.call("POST", "/collections/aliases", {"actions": [action]})

    def delete(self, name: str) -> None:
        self.call("DELETE", path_of(name))

    def content(self, name: str) -> dict[str, str]:
        """Each point by its id: payload and vectors as this server answers them, exactly."""
        found: dict[str, str] = {}
        body: dict[str, Any] = {"limit": 500, "with_payload": True, "with_vector": True}
        while True:
            page = self.call("POST", path_of(name, "points/scroll"), body)
            for point in page["points"]:
                found[str(point["id"])] = json.dumps([point["payload"], point["vector"]], sort_keys=True)
            if page["next_page_offset"] is None:
                return found
            body["offset"] = page["next_page_offset"]

    def state(self, *names: str) -> dict[str, Any]:
        """Everything that a restore may touch: contents, configs, payload indexes, and all aliases."""
        listed = [each["name"] for each in self.call("GET", "/collections")["collections"]]
        found: dict[str, Any] = {"aliases": self.aliases()}
        for name in sorted(set(listed) & set(names) if names else listed):
            info = self.call("GET", path_of(name))
            found[name] = {
                "config": normal_config(info["config"]),
                "schema": normal_schema(info["payload_schema"]),
                "content": self.content(name),
            }
        return found

    def aliases(self) -> dict[str, str]:
        return {each["alias_name"]: each["collection_name"] for each in self.call("GET", "/aliases")["aliases"]}

    def left_on_server(self) -> list[str]:
        """Snapshot files of collections that are there."""
        listed = [each["name"] for each in self.call("GET", "/collections")["collections"]]
        return [each["name"] for name in listed for each in self.call("GET", path_of(name, "snapshots"))]

    def snapshot_files(self) -> list[str]:
        """Snapshot files on the server's disk, those of collections that are gone included."""
        return sorted(path.name for path in (self.running.data_dir / "snapshots").glob("*/*.snapshot"))

    # What is done with it

    def back_up(self, *names: str) -> StoredBackup:
        return backup(BackupRequest(include=names, with_config=False), self.ports).backup

    def restore(self, reference: str | StoredBackup = "latest", **options: Any) -> RestoreReport:
        named = str(reference.path) if isinstance(reference, StoredBackup) else reference
        return restore(RestoreRequest(named, **options), self.ports, lambda _: True)

    def undo(self, **options: Any) -> RestoreReport:
        return undo(self.ports, UndoRequest(**options))

    def resume(self) -> RestoreReport:
        return resume(self.ports)

    def journal(self) -> Journal | None:
        return JournalFile(self.root, self.clock).read()

    def safety_copies(self) -> list[StoredBackup]:
        return self.ports.directory.entries(safety=True)


def flipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes but for one bit."""
    for number, chunk in enumerate(chunks):
        yield chunk[:-1] + bytes([chunk[-1] ^ 1]) if number == 0 else chunk


def archive_bytes(backup: StoredBackup, name: str) -> bytes:
    return (backup.path / backup.manifest.collections[name].snapshot).read_bytes()


def poisoned(archive: bytes) -> bytes:
    """An archive that unpacks and cannot be loaded: a server drops the old data, and then answers 500."""
    bad = archive.replace(b'"vector_data":', b'"vector_data";')
    assert bad != archive
    return bad


def upload_instead(archive: Callable[[bytes], bytes] | bytes, *only: str) -> Callable[..., Any]:
    """A hook that uploads other bytes, under their own checksum, to the named collections (all, when none is named)."""

    def hook(real: Callable[..., Any], name: str, **options: Any) -> Any:
        if only and name not in only:
            return real(name, **options)
        sent = archive(b"".join(options["chunks"]())) if callable(archive) else archive
        options |= {
            "chunks": lambda: iter([sent]),
            "size_bytes": len(sent),
            "checksum": hashlib.sha256(sent).hexdigest(),
        }
        return real(name, **options)

    return hook
