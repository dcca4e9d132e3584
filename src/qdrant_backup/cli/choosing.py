"""Which backup a command looks into: a reference, or the one that was current at a time."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qdrant_backup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qdrant_backup.storage.directory import BackupDirectory
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["as_of_option", "chosen_backup", "moment_of"]

Command = TypeVar("Command", bound="Callable[..., Any]")

_DATE_LENGTH = len("2026-03-01")


def as_of_option(command: Command) -> Command:
    """`--as-of`."""
    return click.option(
        "--as-of",
        metavar="TIME",
        help="The backup that was current then, instead of naming one: 2026-03-01 (its end) or 2026-03-01T14:30, in UTC.",
    )(command)


def moment_of(text: str) -> dt.datetime:
    """The moment a text means: UTC where it says no zone, and the end of the day where it is only a date.

    Raises:
        UsageError: it is neither.
    """
    try:
        moment = dt.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time", why="a time is 2026-03-01 or 2026-03-01T14:30 or 2026-03-01T14:30:00+01:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return moment + dt.timedelta(days=1, microseconds=-1) if len(text) == _DATE_LENGTH else moment


def chosen_backup(directory: BackupDirectory, reference: str | None, as_of: str | None) -> StoredBackup:
    """The backup that was named, or that was current at a time; `latest` when neither is said.

    Raises:
        UsageError: both are said, or the time is none.
        BackupNotFound: there is none.
    """
    if as_of is None:
        return directory.find(reference or "latest")
    if reference is not None:
        raise UsageError(
            f"both a backup ({reference}) and --as-of were given", why="only one of them can say which backup is meant"
        )
    return directory.as_of(moment_of(as_of))
