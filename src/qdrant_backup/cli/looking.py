"""What the commands that look inside a backup share: their options, and opening what they name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qdrant_backup.cli.choosing import as_of_option, chosen_backup
from qdrant_backup.cli.lines import aside
from qdrant_backup.errors import UsageError
from qdrant_backup.operations.looking.opening import open_backups

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from qdrant_backup.cli.wiring import Wiring
    from qdrant_backup.operations.looking.opening import OpenedBackups, OpenedCollection
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.stored import StoredBackup

__all__ = [
    "backup_argument",
    "collection_of",
    "collection_option",
    "filter_option",
    "looking_into",
    "only_collection",
    "split_list",
]

Command = TypeVar("Command", bound="Callable[..., Any]")


def collection_option(command: Command) -> Command:
    """`--collection`, repeatable."""
    return click.option(
        "--collection", "collections", multiple=True, metavar="NAME", help="Only this collection; repeatable."
    )(command)


def filter_option(command: Command) -> Command:
    """`--filter`, repeatable."""
    return click.option(
        "--filter",
        "filters",
        multiple=True,
        metavar="FILTER",
        help="type=decision, timestamp>=2026-02-01, group_id in (a,b), content ~ 'race', joined by `and`; or Qdrant's JSON.",
    )(command)


def backup_argument(command: Command) -> Command:
    """BACKUP, or `--as-of` in its place."""
    return click.argument("backup", required=False)(as_of_option(command))


@contextlib.contextmanager
def looking_into(
    wiring: Wiring, flags: dict[str, Any], backup: str | None
) -> Generator[tuple[StoredBackup, OpenedBackups, Ports]]:
    """The backup that was named, open; only the collections that were named."""
    chosen = chosen_backup(wiring.directory, backup, flags["as_of"])
    names = list(flags["collections"]) or None
    with (
        wiring.ports(lambda event: aside(wiring.console, event)) as ports,
        open_backups(ports, [(chosen, names)]) as opened,
    ):
        yield chosen, opened, ports


def only_collection(wiring: Wiring, flags: dict[str, Any], backup: str | None) -> None:
    """Make `--collection` the backup's only collection where it was left out.

    Raises:
        UsageError: the backup has several, or several were named.
    """
    if len(flags["collections"]) > 1:
        raise UsageError("several collections were named", why="this command reads one at a time")
    if flags["collections"]:
        return
    chosen = chosen_backup(wiring.directory, backup, flags["as_of"])
    names = list(chosen.manifest.collections)
    if len(names) != 1:
        raise UsageError(
            f"backup {chosen.backup_id} has {len(names)} collections",
            why=", ".join(names) or "nothing to read",
            advice="Choose one with --collection NAME.",
        )
    flags["collections"] = tuple(names)


def collection_of(opened: OpenedBackups) -> OpenedCollection:
    """The collection of a backup of which only one was opened."""
    return opened.collections[0]


def split_list(text: str | None) -> list[str]:
    """The parts of a list with commas, without white space and empty ones."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]
