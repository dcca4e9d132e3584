"""Collections, their payload indexes, and aliases."""

from __future__ import annotations

from typing import Any

import msgspec

from qdrant_backup.errors import CollectionMissing, OperationFailed, ServerRefused
from qdrant_backup.model import CollectionInfo, CollectionName
from qdrant_backup.qdrant.base import ALIASES, MANAGE, WRITE, Calls
from qdrant_backup.qdrant.calls import LARGE_BYTES, Call, collection_path
from qdrant_backup.qdrant.failures import could_not

__all__ = ["CollectionCalls"]

_NOT_FOUND = 404


class _Named(msgspec.Struct):
    name: str


class _Collections(msgspec.Struct):
    collections: list[_Named]


class _Info(msgspec.Struct):
    status: str
    config: dict[str, Any]
    payload_schema: dict[str, Any] = {}
    points_count: int | None = None


class _Count(msgspec.Struct):
    count: int


class _Alias(msgspec.Struct):
    alias_name: str
    collection_name: str


class _Aliases(msgspec.Struct):
    aliases: list[_Alias]


class CollectionCalls(Calls):
    """Collections, payload indexes, aliases."""

    def collections(self) -> tuple[CollectionName, ...]:
        """The names of all collections the key may see, sorted. No alias is among them.

        This is the only source for whether a collection exists: every other call takes an alias for its collection.
        """
        call = Call.get("/collections", "list the collections", limit_bytes=LARGE_BYTES)
        found = self._http.result(call, _Collections)
        return tuple(sorted(CollectionName(one.name) for one in found.collections))

    def exists(self, name: CollectionName) -> bool:
        """Whether a collection, not an alias, has this name."""
        return name in self.collections()

    def collection(self, name: CollectionName) -> CollectionInfo:
        """The collection's state, with its config and payload schema as the server gives them.

        Raises CollectionMissing. The name may be an alias: ask `exists` where that matters.
        """
        call = Call.get(collection_path(name), f"read the collection {name!r}")
        try:
            info = self._http.result(call, _Info)
        except ServerRefused as error:
            if error.status != _NOT_FOUND:
                raise
            raise CollectionMissing(could_not(call, self._http.target), why="it does not exist there") from None
        return CollectionInfo(name, info.status, info.points_count or 0, info.config, info.payload_schema)

    def count(self, name: CollectionName, *, exact: bool = True) -> int:
        """How many points the server counts. What is hidden by `prevent_unoptimized` is not among them."""
        path = collection_path(name, "points", "count")
        body = msgspec.json.encode({"exact": exact})
        call = Call("POST", path, f"count the points of {name!r}", body=body, repeatable=True)
        return self._http.result(call, _Count).count

    def create_collection(self, name: CollectionName, body: dict[str, Any]) -> None:
        """Create a collection with exactly this body (`vectors`, `shard_number`, ...)."""
        call = Call.change("PUT", collection_path(name), f"create the collection {name!r}", MANAGE, body)
        self._require_true(call)

    def update_collection(self, name: CollectionName, body: dict[str, Any]) -> None:
        """Change a collection's parameters (`params`, `hnsw_config`, `optimizers_config`, ...)."""
        call = Call.change("PATCH", collection_path(name), f"change the parameters of {name!r}", MANAGE, body)
        self._require_true(call)

    def delete_collection(self, name: CollectionName) -> bool:
        """Delete a collection, with its aliases.

        False when the server answers `result: false`: nothing was there, or a task of the server is still making it
        and it may appear later. That is not a deletion.
        """
        return self._http.result(
            Call.change("DELETE", collection_path(name), f"delete the collection {name!r}", MANAGE), bool
        )

    def create_payload_index(self, name: CollectionName, field: str, schema: object) -> None:
        """Create the index of a payload field and wait until it is built. An index that is there already stays as it is.

        So a creation whose answer was lost is asked for again: what the server shows would not tell, after an upload.

        Args:
            name: the collection.
            field: the key, with dots for nested ones.
            schema: what the server's `payload_schema` says: `params` if there are any, else `data_type`.
        """
        path = collection_path(name, "index", query={"wait": "true"})
        body = {"field_name": field, "field_schema": schema}
        doing = f"create the payload index {field!r} of {name!r}"
        self._update(Call.change("PUT", path, doing, WRITE, body, repeatable=True))

    def delete_payload_index(self, name: CollectionName, field: str) -> None:
        """Delete the index of a payload field; without one nothing happens."""
        path = collection_path(name, "index", field, query={"wait": "true"})
        doing = f"delete the payload index {field!r} of {name!r}"
        self._update(Call.change("DELETE", path, doing, WRITE, repeatable=True))

    def aliases(self) -> dict[str, CollectionName]:
        """Every alias the key may see, and the collection behind it."""
        call = Call.get("/aliases", "list the aliases", limit_bytes=LARGE_BYTES)
        found = self._http.result(call, _Aliases)
        return {one.alias_name: CollectionName(one.collection_name) for one in found.aliases}

    def create_alias(self, alias: str, collection: CollectionName) -> None:
        """Create an alias, or repoint it. One action per call: a batch can lose the alias when its second half fails."""
        action = {"create_alias": {"collection_name": collection, "alias_name": alias}}
        self._alias_action(action, f"point the alias {alias!r} at {collection!r}")

    def delete_alias(self, alias: str) -> None:
        """Delete an alias; the collection behind it stays."""
        self._alias_action({"delete_alias": {"alias_name": alias}}, f"delete the alias {alias!r}")

    def _alias_action(self, action: dict[str, Any], doing: str) -> None:
        self._require_true(Call.change("POST", "/collections/aliases", doing, ALIASES, {"actions": [action]}))

    def _require_true(self, call: Call) -> None:
        if not self._http.result(call, bool):
            raise OperationFailed(could_not(call, self._http.target), why="the server answered `result: false`")
