"""Which collections a run takes, and in which order. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from qdrant_backup.errors import CollectionMissing
from qdrant_backup.model import CollectionName

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["in_order", "select"]

_FIRST = ("discussions", "conventions", "code-patterns")


def in_order(names: Iterable[CollectionName]) -> tuple[CollectionName, ...]:
    """The guide's three first, as the guide lists them; then by name."""
    return tuple(sorted(set(names), key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)))


def _matching(pattern: str, names: Sequence[CollectionName]) -> list[CollectionName]:
    # A collection may be called `a[1]` or `a*`: whoever writes its whole name means it, not what it matches as a glob.
    if pattern in names:
        return [CollectionName(pattern)]
    return [name for name in names if fnmatchcase(name, pattern)]


def select(
    names: Sequence[CollectionName], include: Sequence[str], exclude: Sequence[str]
) -> tuple[CollectionName, ...]:
    """The collections that match any of `include` (all, when it is empty) and none of `exclude`.

    Raises:
        CollectionMissing: a pattern of `include` matches nothing, or `exclude` leaves nothing of what was there.
    """
    chosen: set[CollectionName] = set(names if not include else ())
    for pattern in include:
        matching = _matching(pattern, names)
        if not matching:
            raise CollectionMissing(
                f"collection {pattern!r} does not exist",
                why=f"the server has {', '.join(in_order(names)) or 'none at all'}",
            )
        chosen.update(matching)
    excluded = {name for pattern in exclude for name in _matching(pattern, names)}
    if chosen and not chosen - excluded:
        raise CollectionMissing("no collection is left to back up", why="--exclude takes all that were chosen")
    return in_order(chosen - excluded)
