"""How a request reaches a function: the table of endpoints, rights, bodies, threads, and the envelope around results."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from qdrant_backup.engine.rest.answers import (
    Answer,
    ApiError,
    accepted_body,
    bad_request,
    body_of,
    decode,
    error_body,
    forbidden,
)
from qdrant_backup.engine.rest.shards import engine_answers
from qdrant_backup.engine.rest.values import is_object

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.requests import Request

    from qdrant_backup.engine.rest.collection import Collection
    from qdrant_backup.engine.rest.recovery import Recovery, Spoil
    from qdrant_backup.engine.rest.snapshots import Snapshots
    from qdrant_backup.engine.rest.storage import Storage

__all__ = [
    "READ",
    "WRITE",
    "Call",
    "Endpoint",
    "RawAnswer",
    "Services",
    "asgi_endpoint",
    "flag",
    "later_or_now",
    "raw_endpoint",
]

READ = "read"
WRITE = "write"
"""A right: every key may read; only the full key may write, make snapshots, restore."""


@dataclasses.dataclass(frozen=True)
class Services:
    """What endpoints work on."""

    storage: Storage
    snapshots: Snapshots
    recovery: Recovery
    version: str
    keys: tuple[str, ...] = ()

    def admits(self, key: str | None) -> bool:
        """Whether somebody with that key may read here."""
        return not self.keys or key in self.keys


@dataclasses.dataclass(frozen=True)
class Call:
    """A request that was let in.

    Attributes:
        services: what to work on.
        path: the names in the path.
        query: the query's parameters.
        body: the decoded JSON body; None where the endpoint takes none.
        spoil: what a scripted fault does to a restore on the way.
    """

    services: Services
    path: dict[str, Any]
    query: dict[str, str]
    body: Any
    spoil: Spoil | None = None

    @property
    def storage(self) -> Storage:
        """The storage."""
        return self.services.storage

    @property
    def collection(self) -> Collection:
        """The collection of the path.

        Raises:
            ApiError: 404.
        """
        return self.services.storage.collection(self.path["collection"])

    def flag(self, name: str, *, default: bool) -> bool:
        """A yes or no of the query."""
        return flag(self.query, name, default=default)


def flag(query: dict[str, str], name: str, *, default: bool) -> bool:
    """A yes or no of the query.

    Raises:
        ApiError: 400, it is neither.
    """
    given = query.get(name)
    if given is None:
        return default
    if given not in ("true", "false"):
        message = "Deserialize error in query parameters: provided string was not `true` or `false`"
        raise ApiError(400, message)
    return given == "true"


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A row of the table.

    Attributes:
        method: the HTTP method.
        path: as Starlette writes paths.
        answer: computes the result, on a thread; an `Answer` is sent as it is.
        right: `READ` or `WRITE`.
        body: `none`, `json`, or `optional`.
    """

    method: str
    path: str
    answer: Callable[[Call], Any]
    right: str = READ
    body: str = "none"


def require_right(scope: Any, right: str) -> None:
    """Refuse what the caller's key may not do.

    Raises:
        ApiError: 403.
    """
    if right == WRITE and scope.get("qdrant_access") == READ:
        description = scope.get("qdrant_refusal") or "Global manage access is required"
        raise forbidden(description)


def asgi_endpoint(services: Services, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """The function Starlette calls for an endpoint."""
    clock = services.storage.clock

    async def answer(request: Request) -> Response:
        started = clock.monotonic()
        try:
            require_right(request.scope, endpoint.right)
            body: Any = None
            if endpoint.body != "none":
                raw = await request.body()
                body = decode(raw) if raw or endpoint.body == "json" else {}
                if not is_object(body):
                    description = "the body must be an object"
                    raise bad_request(description)
            spoil = request.scope.get("qdrant_spoil")
            call = Call(services, dict(request.path_params), dict(request.query_params), body, spoil)
            result = await run_in_threadpool(_guarded, endpoint.answer, call)
            if isinstance(result, Answer):
                return Response(result.body, result.status, media_type=result.media_type)
            return _json(200, body_of(result, clock.monotonic() - started))
        except ApiError as error:
            return _json(error.status, error_body(error.message, clock.monotonic() - started))

    return answer


RawAnswer = Callable[[Services, "Request"], "Awaitable[Response]"]
"""Answers a request whose body, or whose answer's, may have any size."""


def raw_endpoint(services: Services, right: str, answer: RawAnswer) -> Callable[[Request], Awaitable[Response]]:
    """The function Starlette calls for an endpoint that handles bodies itself; rights first, before any body is read.

    What is refused before such an endpoint began is told in plain text, as the server does it.
    """

    async def guarded(request: Request) -> Response:
        try:
            require_right(request.scope, right)
            return await answer(services, request)
        except ApiError as error:
            return Response(error.message, error.status, media_type="text/plain; charset=utf-8")

    return guarded


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")


def _guarded(answer: Callable[[Call], Any], call: Call) -> Any:
    with engine_answers():
        return answer(call)


def later_or_now(call: Call, work: Callable[[], Any]) -> Any:
    """Do it and answer its result, or with `wait=false` answer at once; then a failure is never told, as on the server."""
    if call.flag("wait", default=True):
        return work()

    def quietly() -> None:
        try:
            with engine_answers():
                work()
        except (ApiError, OSError):
            return

    threading.Thread(target=quietly, daemon=True).start()
    return Answer(202, accepted_body(0.0))
