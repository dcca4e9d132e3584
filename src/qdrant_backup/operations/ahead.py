"""Fetching one step ahead: what comes next is read from a server while this is worked on."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import wait
from typing import TYPE_CHECKING, TypeVar

from qdrant_backup.operations.aside import aside

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_ahead"]

Item = TypeVar("Item")


def one_ahead(items: Iterator[Item], name: str) -> Generator[Item]:
    """The same items, each fetched in another thread while the one before it is used; what fetching raises comes out here.

    Args:
        items: anything but None; a generator is closed when this one is, so what it fetches ahead by itself ends too.
        name: what is fetched, for messages.

    Raises:
        OperationFailed: no thread can be started.
    """

    def fetch() -> Item | None:
        return next(items, None)

    coming = aside(fetch, name)
    try:
        while (item := coming.result()) is not None:
            coming = aside(fetch, name)
            yield item
    finally:
        # Whoever stops early would otherwise go on beside a thread that still asks the server.
        wait([coming])
        if isinstance(items, Generator):
            items.close()
