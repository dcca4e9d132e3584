"""Asking for points: by vector, by filter, by the values of a field. Filters and queries are Qdrant's own JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup.errors import NotQdrant
from qdrant_backup.qdrant.base import Calls
from qdrant_backup.qdrant.calls import LARGE_BYTES, Call, collection_path
from qdrant_backup.qdrant.failures import could_not

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qdrant_backup.model import CollectionName

__all__ = ["QueryCalls"]


class _Found(msgspec.Struct):
    points: list[dict[str, Any]]


class _Page(msgspec.Struct):
    points: list[dict[str, Any]]
    next_page_offset: int | str | None = None


class _Hit(msgspec.Struct):
    value: Any
    count: int


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class QueryCalls(Calls):
    """Searching and filtering. All are reads, and may be repeated."""

    def query(self, name: CollectionName, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The points that answer a `points/query`, best first, each {id, score, payload?, vector?}."""
        call = _asked(collection_path(name, "points", "query"), f"search {name!r}", body)
        return self._http.result(call, _Found).points

    def matching(
        self,
        name: CollectionName,
        condition: Mapping[str, Any] | None,
        *,
        limit: int = 100,
        with_payload: bool | list[str] = True,
        with_vector: bool = False,
    ) -> Iterator[list[dict[str, Any]]]:
        """The points that a filter lets through in the order of their ids, page by page, `limit` a page."""
        offset: int | str | None = None
        while True:
            body = {"limit": limit, "offset": offset, "with_payload": with_payload, "with_vector": with_vector}
            asked = {**body, "filter": dict(condition)} if condition else body
            call = _asked(collection_path(name, "points", "scroll"), f"read points of {name!r}", asked)
            page = self._http.result(call, _Page)
            yield page.points
            if page.next_page_offset is None:
                return
            if page.next_page_offset == offset:
                raise NotQdrant(could_not(call, self._http.target), why="bad response: the same page over and over")
            offset = page.next_page_offset

    def facet(
        self, name: CollectionName, field: str, limit: int, condition: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, int]]:
        """The commonest values of an indexed payload field, and how many points have each."""
        body: dict[str, Any] = {"key": field, "limit": limit, "exact": True}
        if condition:
            body["filter"] = dict(condition)
        call = _asked(collection_path(name, "facet"), f"count the values of {field!r} in {name!r}", body)
        return [(hit.value, hit.count) for hit in self._http.result(call, _Hits).hits]


def _asked(path: str, doing: str, body: Mapping[str, Any]) -> Call:
    return Call("POST", path, doing, body=msgspec.json.encode(body), repeatable=True, limit_bytes=LARGE_BYTES)
