"""Api keys: who is let in, before anything of the request is read."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from starlette.responses import Response

from qdrant_backup.engine.rest.calls import READ, WRITE
from qdrant_backup.engine.rest.routes_service import OPEN_PATHS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["KeyCheck"]

NO_KEY = "Must provide an API key or an Authorization bearer token"
WRONG_KEY = "Invalid API key or JWT"
_BEARER = b"bearer "


class KeyCheck:
    """Answers 401 in plain text to callers without a key, or with a wrong one; notes what the others may do.

    Args:
        app: what to protect.
        api_key: may do everything; without one everybody may.
        read_only_api_key: may read.
        refusal: what to say when somebody wants to write; None for a server that can be written to.
    """

    def __init__(
        self, app: ASGIApp, api_key: str | None, read_only_api_key: str | None, refusal: str | None = None
    ) -> None:
        self._app = app
        self._refusal = refusal
        self._rights = [(key.encode(), right) for key, right in ((api_key, WRITE), (read_only_api_key, READ)) if key]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer it here."""
        if self._refusal is not None:
            scope["qdrant_access"], scope["qdrant_refusal"] = READ, self._refusal
        if scope["type"] != "http" or not self._rights or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = _key_of(scope)
        if given is None:
            await Response(NO_KEY, 401, media_type="text/plain")(scope, receive, send)
            return
        for key, right in self._rights:
            if hmac.compare_digest(key, given):
                if self._refusal is None:
                    scope["qdrant_access"] = right
                await self._app(scope, receive, send)
                return
        await Response(WRONG_KEY, 401, media_type="text/plain")(scope, receive, send)


def _key_of(scope: Scope) -> bytes | None:
    headers = dict(scope["headers"])
    if b"api-key" in headers:
        return headers[b"api-key"]
    bearer: bytes = headers.get(b"authorization", b"")
    return bearer[len(_BEARER) :] if bearer.lower().startswith(_BEARER) else None
