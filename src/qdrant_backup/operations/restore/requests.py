"""What a restore, an undo or a resume is asked for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RestoreRequest", "UndoRequest"]


def _no_names() -> dict[str, str]:
    return {}


@dataclasses.dataclass(frozen=True)
class RestoreRequest:
    """One `restore` command.

    Attributes:
        reference: a backup's path, id, unique prefix, or `latest`.
        collections: exact names as the backup has them; all of it when empty.
        rename: name in the backup to name on the server.
        replace: drop targets that exist and recreate them from the snapshot, config and all.
        restore_config: put the backup's config files back as well.
        no_safety: take no safety backup; then nothing can be rolled back or undone.
        allow_version: restore although the server's version does not fit the backup's.
        allow_writers: restore although somebody writes to a target; those writes are lost.
        allow_unverified: restore although the engine could not judge the content of the backup or of the safety copy.
    """

    reference: str
    collections: tuple[str, ...] = ()
    rename: Mapping[str, str] = dataclasses.field(default_factory=_no_names)
    replace: bool = False
    restore_config: bool = False
    no_safety: bool = False
    allow_version: bool = False
    allow_writers: bool = False
    allow_unverified: bool = False


@dataclasses.dataclass(frozen=True)
class UndoRequest:
    """One `undo` command.

    Attributes:
        force_changes: undo although the collections were changed since the restore; the changes are kept in the undo's
            own safety backup.
        allow_unverified: undo although the engine cannot judge the content of what is there.
    """

    force_changes: bool = False
    allow_unverified: bool = False
