"""Draws progress on a terminal: what is being done, how much of it, how fast, and how long it still takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.cli.console import visible
from qdrant_backup.model import NO_PROGRESS

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from qdrant_backup.cli.console import Console
    from qdrant_backup.model import Progress

__all__ = ["TerminalProgress", "progress_on"]


def progress_on(console: Console) -> Progress:
    """Bars where somebody watches; nothing where standard error is a file or a pipe."""
    return TerminalProgress(console) if console.watched else NO_PROGRESS


class TerminalProgress:
    """One bar on standard error, which gives way to every line that is printed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        console.hide_progress_with(self.hide)

    def begin(self, task: str, total_bytes: int | None) -> None:
        """Show a new bar."""
        self.end()
        self._bars = _bars(known=total_bytes is not None)
        self._task = self._bars.add_task(visible(task), total=total_bytes)
        self._bars.start()

    def advance(self, size_bytes: int) -> None:
        """Move the bar."""
        if self._bars is not None and self._task is not None:
            if not self._bars.live.is_started:
                self._bars.start()
            self._bars.advance(self._task, size_bytes)

    def note(self, text: str) -> None:
        """Print a line above."""
        self._console.error_line(f"  {visible(text)}")

    def end(self) -> None:
        """Take the bar away."""
        self.hide()
        self._bars = self._task = None

    def hide(self) -> None:
        """Take the bar away until it moves again."""
        if self._bars is not None and self._bars.live.is_started:
            self._bars.stop()


def _bars(*, known: bool) -> Bars:
    # Imported only where somebody watches: it costs a tenth of a second.
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    left = [DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()] if known else [TimeElapsedColumn()]
    first = [BarColumn(bar_width=20)] if known else [SpinnerColumn()]
    return Progress(
        TextColumn("    {task.description}", markup=False),
        *first,
        *left,
        console=RichConsole(stderr=True),
        transient=True,
    )
