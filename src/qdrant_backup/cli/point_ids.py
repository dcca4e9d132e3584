"""Point ids as they are typed."""

from __future__ import annotations

from qdrant_backup.digest import point_id_of, point_key
from qdrant_backup.errors import UsageError

__all__ = ["point_id_from"]


def point_id_from(text: str) -> int | str:
    """The id that a text means: a number, or a UUID in Qdrant's spelling.

    Raises:
        UsageError: it is neither.
    """
    word = text.strip()
    try:
        return point_id_of(point_key(int(word) if word.isdecimal() else word))
    except ValueError:
        raise UsageError(
            f"{text!r} is no point id",
            why="a point id is a number from 0 to 2^64-1 or a UUID",
            advice="`qdrant-backup points BACKUP` lists the ids.",
        ) from None
