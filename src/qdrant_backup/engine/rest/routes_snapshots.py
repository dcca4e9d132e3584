"""Endpoints of snapshots: collections and shards, stored and streamed, uploaded and recovered."""

from __future__ import annotations

import re
import secrets
import shutil
import urllib.parse
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response, StreamingResponse

from qdrant_backup.engine.rest.answers import (
    Answer,
    ApiError,
    accepted_body,
    bad_input,
    bad_request,
    body_of,
    error_body,
    forbidden,
    unprocessable,
)
from qdrant_backup.engine.rest.calls import READ, WRITE, Call, Endpoint, RawAnswer, Services, later_or_now
from qdrant_backup.engine.rest.defaults import check_name
from qdrant_backup.engine.rest.recovery import require_checksum
from qdrant_backup.engine.rest.shards import engine_answers
from qdrant_backup.engine.rest.snapshots import collection_members, shard_members
from qdrant_backup.engine.rest.tarring import chunks_of
from qdrant_backup.engine.rest.uploads import receive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from qdrant_backup.engine.rest.collection import Collection
    from qdrant_backup.engine.rest.values import JsonObject

__all__ = ["ENDPOINTS", "RAW_ENDPOINTS"]

_CHECKSUM = re.compile(r"^\s*[0-9a-fA-F]{64}\s*$")
_OWN = re.compile(r"^/collections/([^/]+)(?:/shards/([0-9]+))?/snapshots/([^/]+)$")
_CHUNK = 1 << 20


def _shard_number(path: dict[str, Any]) -> int | None:
    given = path.get("shard")
    if given is None:
        return None
    if not str(given).isdigit():
        message = f'Deserialize error in path parameters: can not parse "{given}" to a u32'
        raise ApiError(400, message)
    return int(given)


def _place(services: Services, path: dict[str, Any]) -> tuple[Collection, int | None]:
    """The collection of the path, and the shard where it names one.

    Raises:
        ApiError: 404.
    """
    collection, number = services.storage.collection(path["collection"]), _shard_number(path)
    if number is not None:
        collection.shard(number)
    return collection, number


def _list(call: Call) -> list[JsonObject]:
    collection, number = _place(call.services, call.path)
    return call.services.snapshots.listed(collection.name, number)


def create(services: Services, collection: Collection, number: int | None) -> JsonObject:
    """Make a snapshot of a collection or of one of its shards, and store it.

    Raises:
        ApiError: 500, the collection is broken.
    """
    snapshots, peer_id = services.snapshots, services.storage.peer_id
    log = services.storage.temporary / secrets.token_hex(8)
    log.mkdir()
    collection.running["snapshots"] += 1
    try:
        with collection.lock:
            collection.open_shards()
            name = snapshots.name_now(collection.name, number)
            if number is None:
                members = collection_members(collection, log, peer_id)
            else:
                members = shard_members(collection.shard(number), log, "", peer_id, nested=True)
            described = snapshots.keep(members, name, collection.name, number)
    finally:
        collection.running["snapshots"] -= 1
        shutil.rmtree(log, ignore_errors=True)
    collection.running["created"] += 1
    return described


def _create(call: Call) -> Any:
    collection, number = _place(call.services, call.path)
    return later_or_now(call, partial(create, call.services, collection, number))


def _delete(call: Call) -> Any:
    collection, number = _place(call.services, call.path)
    name = call.path["name"]

    def work() -> bool:
        call.services.snapshots.delete(name, collection.name, number)
        return True

    return later_or_now(call, work)


def _fetched(call: Call, location: str) -> Path:
    """The archive that a URL means.

    Raises:
        ApiError: 400 or 403.
    """
    parts = urllib.parse.urlsplit(location)
    if not parts.scheme:
        message = f'Format error in JSON body: relative URL without a base: "{location}"'
        raise ApiError(400, message)
    if parts.scheme not in ("file", "http", "https"):
        description = f"URL {location} with scheme {parts.scheme} is not supported"
        raise bad_request(description)
    if parts.scheme == "file":
        path = Path(urllib.parse.unquote(parts.path))
        allowed = (call.storage.directory / "snapshots").resolve()
        if not path.exists():
            description = f'Snapshot file "{path}" does not exist'
            raise bad_request(description)
        if allowed not in path.resolve().parents:
            description = f'Snapshot file path must be inside the snapshots directory "{allowed}"'
            raise forbidden(description)
        return path
    return _own(call, location, parts.path)


def _own(call: Call, location: str, path: str) -> Path:
    """The stored snapshot that a URL of this very server means; it fetches from nowhere else.

    Raises:
        ApiError: 400, it is none of ours, or the key in the body does not open it.
    """
    found = _OWN.match(path)
    if found is None:
        description = f"the embedded server restores from its own snapshots only, not from {location}"
        raise bad_request(description)
    if not call.services.admits(call.body.get("api_key")):
        description = f"Failed to download snapshot from {location}: status - 401 Unauthorized"
        raise bad_input(description)
    collection, shard, name = (urllib.parse.unquote(part) if part else None for part in found.groups())
    place = {"collection": collection, "shard": shard}
    owner, number = _place(call.services, place)
    return call.services.snapshots.path(name or "", owner.name, number)


def _wanted_checksum(given: str | None) -> str | None:
    if given is not None and not _CHECKSUM.match(given):
        raise unprocessable("query parameters", f"checksum: value {given!r} invalid, must be a valid sha256 hash")
    return given


def _recover(call: Call) -> Any:
    location, number = call.body.get("location"), _shard_number(call.path)
    if not isinstance(location, str):
        message = "Format error in JSON body: missing field `location`"
        raise ApiError(400, message)
    checksum = _wanted_checksum(call.body.get("checksum"))
    if number is None:
        check_name(call.path["collection"])
    else:
        _place(call.services, call.path)

    def work() -> bool:
        if number is not None and "://" not in location:
            archive = call.services.snapshots.path(location, call.collection.name, number)
        else:
            archive = _fetched(call, location)
        require_checksum(archive, checksum)
        _install(call, archive, number)
        return True

    return later_or_now(call, work)


def _install(call: Call, archive: Path, number: int | None) -> None:
    recovery = call.services.recovery
    if number is None:
        recovery.collection(call.path["collection"], archive, call.spoil)
    else:
        recovery.shard(call.collection, number, archive, call.spoil)


def _uploaded(call: Call, spooled: Path, file_name: str) -> Any:
    """What happens once an upload lies on disk whole."""
    number = _shard_number(call.path)

    def work() -> Any:
        archive = spooled
        try:
            require_checksum(archive, _wanted_checksum(call.query.get("checksum")))
            if number is None:
                directory = call.services.snapshots.directory(call.path["collection"])
                directory.mkdir(parents=True, exist_ok=True)
                archive = directory / (file_name or str(uuid.uuid4()))
                spooled.replace(archive)
            _install(call, archive, number)
        finally:
            spooled.unlink(missing_ok=True)
        return True if number is None else None

    return later_or_now(call, work)


async def _upload(services: Services, request: Request) -> Response:
    path, query = dict(request.path_params), dict(request.query_params)
    number = _shard_number(path)
    if number is None:
        check_name(path["collection"])
    spooled, name = await receive(request, services.storage.temporary)
    call = Call(services, path, query, None, spoil=request.scope.get("qdrant_spoil"))
    clock = services.storage.clock
    started = clock.monotonic()

    def work() -> Any:
        with engine_answers():
            if number is not None:
                _place(services, path)
            return _uploaded(call, spooled, name)

    try:
        result = await run_in_threadpool(work)
    except ApiError as error:
        body = error_body(error.message, clock.monotonic() - started)
        return Response(body, error.status, media_type="application/json")
    if isinstance(result, Answer):
        return Response(accepted_body(0.0), 202, media_type="application/json")
    return Response(body_of(result, clock.monotonic() - started), media_type="application/json")


async def _download(services: Services, request: Request) -> Response:
    def find() -> Path:
        collection, number = _place(services, dict(request.path_params))
        return services.snapshots.path(request.path_params["name"], collection.name, number)

    path = await run_in_threadpool(find)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


def spool(services: Services, collection: Collection, number: int) -> Path:
    """A shard's streamed snapshot as a file, so that a slow reader holds nobody's lock.

    Raises:
        ApiError: 404 or 500.
    """
    work = services.storage.temporary / secrets.token_hex(8)
    work.mkdir()
    with collection.lock:
        collection.require_whole()
        members = shard_members(collection.shard(number), work, "", services.storage.peer_id, nested=False)
        with (work / "archive").open("wb") as file:
            for chunk in chunks_of(members):
                file.write(chunk)
    return work


def _chunks(work: Path) -> Iterator[bytes]:
    try:
        with (work / "archive").open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _stream(services: Services, request: Request) -> Response:
    def made() -> Path:
        with engine_answers():
            collection, number = _place(services, dict(request.path_params))
            return spool(services, collection, number or 0)

    work = await run_in_threadpool(made)
    return StreamingResponse(_chunks(work), media_type="application/octet-stream")


def _manifest(call: Call) -> JsonObject:
    collection, number = _place(call.services, call.path)
    with collection.lock:
        collection.require_whole()
        return collection.shard(number or 0).engine.snapshot_manifest()


def _unsupported(_call: Call) -> None:
    message = "Service internal error: partial snapshots are not supported by the embedded server"
    raise ApiError(501, message)


def _full_list(_call: Call) -> list[JsonObject]:
    return []


ALL = "/collections/{collection}/snapshots"
SHARD = "/collections/{collection}/shards/{shard}"
ENDPOINTS = (
    Endpoint("GET", "/snapshots", _full_list),
    Endpoint("GET", ALL, _list),
    Endpoint("POST", ALL, _create, WRITE),
    Endpoint("PUT", f"{ALL}/recover", _recover, WRITE, "json"),
    Endpoint("DELETE", ALL + "/{name}", _delete, WRITE),
    Endpoint("GET", f"{SHARD}/snapshots", _list),
    Endpoint("POST", f"{SHARD}/snapshots", _create, WRITE),
    Endpoint("PUT", f"{SHARD}/snapshots/recover", _recover, WRITE, "json"),
    Endpoint("DELETE", SHARD + "/snapshots/{name}", _delete, WRITE),
    Endpoint("GET", f"{SHARD}/snapshot/partial/manifest", _manifest),
    Endpoint("POST", f"{SHARD}/snapshot/partial/create", _unsupported, WRITE),
)


RAW_ENDPOINTS: tuple[tuple[str, str, str, RawAnswer], ...] = (
    ("POST", f"{ALL}/upload", WRITE, _upload),
    ("GET", ALL + "/{name}", READ, _download),
    ("GET", f"{SHARD}/snapshot", WRITE, _stream),
    ("POST", f"{SHARD}/snapshots/upload", WRITE, _upload),
    ("GET", SHARD + "/snapshots/{name}", READ, _download),
)
"""Endpoints that read or write a body of any size: method, path, right, function."""
