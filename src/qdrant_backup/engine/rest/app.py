"""The application: all endpoints on one storage, behind the key check, with scripted faults in front."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from qdrant_backup.engine.rest import routes_collections, routes_points, routes_service, routes_snapshots
from qdrant_backup.engine.rest.auth import KeyCheck
from qdrant_backup.engine.rest.calls import Services, asgi_endpoint, raw_endpoint
from qdrant_backup.engine.rest.faults import FaultInjector
from qdrant_backup.engine.rest.recovery import Recovery
from qdrant_backup.engine.rest.snapshots import Snapshots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from qdrant_backup.engine.rest.faults import FaultScript
    from qdrant_backup.engine.rest.storage import Storage

__all__ = ["VERSION", "create_app"]

VERSION = "1.18.3"
"""The version this server says it is, and follows."""

READ_ONLY = "this is a backup, served for reading only; nothing can be changed here"


class _Trimmed:
    """Takes slashes from the end of the path, and compresses snapshots for clients that ask for it: the server does both."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressing = GZipMiddleware(app, compresslevel=1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope["path"].rstrip("/") or "/"
            if "/snapshot" in scope["path"]:
                await self._compressing(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _unknown(_request: Request, _error: Exception) -> Response:
    return Response(b"", 404)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(b"", 400)


def create_app(
    storage: Storage,
    *,
    api_key: str | None = None,
    read_only_api_key: str | None = None,
    version: str = VERSION,
    faults: FaultScript | None = None,
    read_only: bool = False,
) -> Starlette:
    """The server as an ASGI application; its shutdown closes the storage.

    Args:
        storage: what it serves.
        api_key: the key for everything; without one nobody needs a key.
        read_only_api_key: the key for reading.
        version: what `GET /` says; nothing else depends on it.
        faults: what goes wrong on purpose; None for a server that has no such thing.
        read_only: nobody may change anything, whatever the key.
    """
    keys = tuple(key for key in (api_key, read_only_api_key) if key)
    services = Services(storage, Snapshots(storage), Recovery(storage), version, keys)
    tables = (*routes_service.ENDPOINTS, *routes_collections.ENDPOINTS, *routes_snapshots.ENDPOINTS)
    raw = [
        Route(path, raw_endpoint(services, right, answer), methods=[method])
        for method, path, right, answer in routes_snapshots.RAW_ENDPOINTS
    ]
    plain = [
        Route(one.path, asgi_endpoint(services, one), methods=[one.method])
        for one in (*tables, *routes_points.ENDPOINTS)
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None, None]:
        yield
        storage.close()

    middleware = [
        Middleware(_Trimmed),
        Middleware(KeyCheck, api_key, read_only_api_key, READ_ONLY if read_only else None),
    ]
    if faults is not None:
        middleware.insert(0, Middleware(FaultInjector, faults))
    app = Starlette(
        routes=[*plain, *raw],
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={404: _unknown, 405: _unknown, ClientDisconnect: _gone},
    )
    app.router.redirect_slashes = False
    return app
