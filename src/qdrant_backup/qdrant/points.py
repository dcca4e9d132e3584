"""Points, as raw as the server gives and takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup.errors import NotQdrant
from qdrant_backup.qdrant.base import WRITE, Calls
from qdrant_backup.qdrant.calls import LARGE_BYTES, Call, collection_path
from qdrant_backup.qdrant.failures import could_not

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qdrant_backup.model import CollectionName

__all__ = ["PointCalls", "RawPoint"]


class RawPoint(msgspec.Struct):
    """A point whose vectors nobody has to read: they stay the JSON that they came as.

    Attributes:
        id: the point's.
        payload: None where it has none.
        vector: a list, or an object of vectors by name; `null` in it stands for NaN and infinity.
    """

    id: int | str
    payload: dict[str, Any] | None = None
    vector: msgspec.Raw = msgspec.Raw(b"{}")


class _Page(msgspec.Struct):
    points: list[dict[str, Any]]
    next_page_offset: int | str | None = None


class PointCalls(Calls):
    """Reading and writing points. No call here proves what a collection holds: the digest of a snapshot does."""

    def scroll(
        self,
        name: CollectionName,
        *,
        limit: int = 100,
        offset: int | str | None = None,
        with_payload: bool = True,
        with_vector: bool = False,
    ) -> Iterator[list[dict[str, Any]]]:
        """All points from `offset` on in the order of their ids, page by page, `limit` a page."""
        while True:
            page = self._page(name, limit, offset, with_payload=with_payload, with_vector=with_vector)
            yield page.points
            if page.next_page_offset is None:
                return
            offset = page.next_page_offset

    def retrieve(
        self,
        name: CollectionName,
        ids: Sequence[int | str],
        *,
        with_payload: bool = True,
        with_vector: bool = False,
    ) -> list[dict[str, Any]]:
        """The points of these ids, those that exist."""
        call = _by_ids(name, ids, with_payload=with_payload, with_vector=with_vector)
        return self._http.result(call, list[dict[str, Any]])

    def retrieve_raw(self, name: CollectionName, ids: Sequence[int | str]) -> list[RawPoint]:
        """As `retrieve`, with payloads, and with vectors as JSON."""
        return self._http.result(_by_ids(name, ids, with_payload=True, with_vector=True), list[RawPoint])

    def upsert(self, name: CollectionName, points: Sequence[dict[str, Any] | msgspec.Raw]) -> None:
        """Write points, each {id, vector, payload} or the JSON of it; done when it returns. Their JSON stays below 32 MiB."""
        path = collection_path(name, "points", query={"wait": "true"})
        self._update(Call.change("PUT", path, f"write points of {name!r}", WRITE, {"points": list(points)}))

    def delete_points(self, name: CollectionName, ids: Sequence[int | str]) -> None:
        """Delete the points of these ids; done when it returns."""
        path = collection_path(name, "points", "delete", query={"wait": "true"})
        self._update(Call.change("POST", path, f"delete points of {name!r}", WRITE, {"points": list(ids)}))

    def _page(
        self, name: CollectionName, limit: int, offset: int | str | None, *, with_payload: bool, with_vector: bool
    ) -> _Page:
        body = {"limit": limit, "offset": offset, "with_payload": with_payload, "with_vector": with_vector}
        call = _query(collection_path(name, "points", "scroll"), f"scroll {name!r}", body)
        page = self._http.result(call, _Page)
        if page.next_page_offset is not None and page.next_page_offset == offset:
            raise NotQdrant(could_not(call, self._http.target), why="bad response: the same page over and over")
        return page


def _query(path: str, doing: str, body: dict[str, Any]) -> Call:
    encoded = msgspec.json.encode(body)
    return Call("POST", path, doing, body=encoded, repeatable=True, limit_bytes=LARGE_BYTES)


def _by_ids(name: CollectionName, ids: Sequence[int | str], *, with_payload: bool, with_vector: bool) -> Call:
    body = {"ids": list(ids), "with_payload": with_payload, "with_vector": with_vector}
    return _query(collection_path(name, "points"), f"read points of {name!r}", body)
