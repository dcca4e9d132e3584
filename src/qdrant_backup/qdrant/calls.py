"""What one call to the server is, as a value, and how names become paths."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Call", "collection_path", "segment"]

SMALL_BYTES = 8 * 1024 * 1024
"""Limit of an answer that is kept as it is: JSON grows about twentyfold in memory."""

LARGE_BYTES = 64 * 1024 * 1024
"""Limit of an answer of which only known fields are kept, and of a page of points."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One request, and the words for it.

    Attributes:
        method: the HTTP method.
        path: percent-encoded, without the target's prefix, with its query.
        doing: what it does, behind "could not": `list the collections`.
        right: what the key must allow, for the message of a 401 or 403.
        body: JSON, already encoded.
        repeatable: whether a second one does no harm; false means that a lost answer is `Unanswered`.
        limit_bytes: the largest answer that is read.
        silence_s: a shorter patience than the target's, for the first look at a server.
    """

    method: str
    path: str
    doing: str
    right: str = "read"
    body: bytes | None = None
    repeatable: bool = False
    limit_bytes: int = SMALL_BYTES
    silence_s: float | None = None

    def patience_s(self, target_s: float) -> float:
        """How long its answer may be silent, where the target's patience is `target_s`: the shorter of the two."""
        return target_s if self.silence_s is None else min(self.silence_s, target_s)

    @classmethod
    def get(cls, path: str, doing: str, *, right: str = "read", limit_bytes: int = SMALL_BYTES) -> Call:
        """A GET, which may be repeated."""
        return cls("GET", path, doing, right, repeatable=True, limit_bytes=limit_bytes)

    @classmethod
    def change(
        cls, method: str, path: str, doing: str, right: str, body: object = None, *, repeatable: bool = False
    ) -> Call:
        """A call that changes something. `body` is encoded as JSON; None sends none."""
        encoded = None if body is None else msgspec.json.encode(body)
        return cls(method, path, doing, right, body=encoded, repeatable=repeatable)


def segment(name: object) -> str:
    """A name as one segment of a path: `/`, `?`, `%`, spaces and letters beyond ASCII encoded, `..` too."""
    text = str(name)
    if text in {".", ".."}:
        return text.replace(".", "%2E")
    return quote(text, safe="", errors="surrogatepass")


def collection_path(name: str, *rest: object, query: Mapping[str, str] | None = None) -> str:
    """`/collections/{name}/...`, with every part encoded."""
    path = "/".join(["/collections", segment(name), *(segment(part) for part in rest)])
    return f"{path}?{urlencode(query)}" if query else path
