"""Turns what an operation says into the guide's lines, letter for letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.cli.console import visible
from qdrant_backup.model import human_size
from qdrant_backup.operations import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from qdrant_backup.cli.console import Console
    from qdrant_backup.operations.events import Event
    from qdrant_backup.operations.listing import Listed
    from qdrant_backup.storage.stored import StoredBackup

__all__ = [
    "BackupLines",
    "RestoreLines",
    "Warnings",
    "aside",
    "backup_summary",
    "proven_restorable",
    "taken_back_with",
    "title",
]


def title(console: Console, text: str) -> None:
    """The guide's heading."""
    console.rule()
    console.line(f"  {text}")
    console.rule()
    console.line()


def taken_back_with(into_url: str | None) -> str:
    """What to type to take back what went into that server; None for the usual one."""
    return visible(f"qdrant-backup undo --yes{f' --into-url {into_url}' if into_url else ''}")


class BackupLines:
    """Prints a backup's events as the guide shows them; what the guide does not show goes to standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        """Print one event."""
        for line in self._lines(event):
            self._console.line(line)

    def _lines(self, event: Event) -> Sequence[str]:  # noqa: PLR0911 - one line of output per kind of event
        match event:
            case events.BackupBegun():
                return [
                    f"  Backup directory: {visible(event.path)}",
                    f"  Qdrant: {event.host}:{event.port}",
                    "",
                    "  Checking disk space...",
                ]
            case events.SpaceChecked():
                return [f"    ✓ {human_size(event.free_bytes)} available"]
            case events.CollectionBegun():
                return [f"  Backing up {visible(event.name)}..."]
            case events.CollectionBackedUp():
                unverified = ", content unverified" if event.unverified else ""
                size = human_size(event.size_bytes)
                return [f"    ✓ {event.records} records, snapshot created ({size}){unverified}"]
            case events.CollectionSkipped():
                return [f"  Backing up {visible(event.name)}...", f"    - skipped: {event.reason}"]
            case events.ConfigBegun():
                return ["", "  Backing up config files..."]
            case events.ConfigBackedUp():
                return [f"    ✓ {visible(event.name)}"]
            case events.ConfigFailedEvent():
                return [f"    ✗ {visible(event.name)}: {visible(event.reason)}"]
            case events.LogsBackedUp():
                return [f"    ✓ logs ({event.files} files, {human_size(event.size_bytes)})"]
            case _:
                aside(self._console, event)
                return []


def aside(console: Console, event: Event) -> None:
    """Print a warning or a note on standard error; other events say nothing here."""
    if isinstance(event, events.Warned):
        console.warning(event.text)
    elif isinstance(event, events.Note):
        console.error_line(f"  {visible(event.text)}")


class Warnings:
    """Keeps warnings for a JSON document; when the run fails, and there is none, each is a line on standard error.

    Use as a context manager around the run.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.texts: list[str] = []

    def __call__(self, event: Event) -> None:
        """Keep a warning; other events are not for a JSON document."""
        if isinstance(event, events.Warned):
            self.texts.append(event.text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for text in self.texts if kind is not None else ():
            self._console.error_json({"warning": text})


def backup_summary(console: Console, backup: StoredBackup) -> None:
    """The guide's last lines."""
    console.line()
    console.rule()
    console.line(f"  ✓ Backup complete: {visible(str(backup.path))}")
    console.line()
    console.line(f"  Total size: {human_size(backup.size_bytes)}")
    console.line(f"  Collections: {len(backup.manifest.collections)}")
    console.line(f"  Records: {backup.manifest.records}")
    console.rule()


def proven_restorable(entry: Listed) -> str:
    """Whether a drill has proven that a backup can be restored, when, and how."""
    if entry.catalogue_error is not None:
        return "Proven restorable: unknown"
    if entry.restorable is None:
        return "Proven restorable: no (qdrant-backup drill)"
    how = f"by a restore into {entry.restorable.server}" if entry.restorable.server else "in the embedded engine"
    return f"Proven restorable: {entry.restorable.at:%Y-%m-%d %H:%M:%S} UTC, {visible(how)}"


class RestoreLines:
    """Prints a restore's events as the guide shows them.

    Attributes:
        told: the collections of which it has been printed how they ended.
    """

    def __init__(self, console: Console) -> None:
        self.told: set[str] = set()
        self._console = console
        self._restoring = False

    def __call__(self, event: Event) -> None:
        """Print one event."""
        for line in self._lines(event):
            self._console.line(line)

    def _lines(self, event: Event) -> Sequence[str]:  # noqa: PLR0911 - one line of output per kind of event
        match event:
            case events.ManifestChecked():
                return [
                    f"  Backup: {visible(event.path)}",
                    "",
                    "  Verifying backup...",
                    "    ✓ manifest.json valid",
                    f"  Backup date: {visible(event.backup_date[:19].replace('T', ' '))}",
                    f"  Version: {visible(event.ai_memory_version)}",
                    "",
                ]
            case events.SnapshotChecked():
                return [f"    ✓ {visible(event.file)} ({human_size(event.size_bytes)})"]
            case events.Connected():
                return ["", f"  Connecting to Qdrant ({event.host}:{event.port})...", "    ✓ Connected", ""]
            case events.SafetyBegun():
                return [f"  Backing up {len(event.collections)} existing collection(s) first..."]
            case events.SafetyDone():
                size = human_size(event.size_bytes)
                return [f"    ✓ Safety backup: {visible(event.path)} ({event.records} records, {size})", ""]
            case events.RestoreBegun():
                first = [] if self._restoring else ["  Restoring collections..."]
                self._restoring = True
                renamed = "" if event.target == event.name else f" as {visible(event.target)}"
                return [*first, f"    Restoring {visible(event.name)}{renamed} ({event.records} records)..."]
            case events.SnapshotUploaded():
                return ["      ✓ Snapshot uploaded"]
            case events.CollectionRecovered():
                unverified = " (content unverified)" if event.unverified else ""
                return [f"      ✓ Collection recovered{unverified}"]
            case events.AliasRestored():
                return [f"    ✓ alias {visible(event.alias)} → {visible(event.target)}"]
            case events.ConfigRestored():
                kept = f" (the old one is {visible(event.kept_as)})" if event.kept_as else ""
                return [f"    ✓ {visible(event.name)}{kept}"]
            case events.OutcomeKnown():
                self.told.add(event.target)
                mark = "✗" if event.outcome == "NOT RESTORED" else "✓"
                return [f"    {mark} {visible(event.target)}: {event.outcome}"]
            case _:
                aside(self._console, event)
                return []
