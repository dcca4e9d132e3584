"""The only place that prints. Results go to standard output, everything about them to standard error."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Console", "visible"]

RULE = "=" * 60


def visible(text: str) -> str:
    """Text with everything a terminal would obey (escape codes, line breaks, reordering) made visible instead."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class Console:
    """Two streams. A stream that is closed or full never ends the run: the work is what matters, and it goes on."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._before_line: Callable[[], None] | None = None

    @property
    def watched(self) -> bool:
        """Whether standard error is a terminal, so that somebody can watch progress."""
        return self._err.isatty()

    @property
    def coloured(self) -> bool:
        """Whether standard output is a terminal that shows colours."""
        return self._out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def hide_progress_with(self, hide: Callable[[], None]) -> None:
        """Call `hide` before each line, so that a progress bar does not stand in its way."""
        self._before_line = hide

    def _write(self, stream: TextIO, text: str) -> None:
        if self._before_line is not None:
            self._before_line()
        with contextlib.suppress(OSError, ValueError):  # The reader went away, or the disk behind it is full.
            try:
                print(text, file=stream, flush=True)
            except UnicodeEncodeError:
                encoding = stream.encoding or "ascii"
                print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)

    def line(self, text: str = "") -> None:
        """A line of the result."""
        self._write(self._out, text)

    def rule(self) -> None:
        """The guide's line of 60 equals signs."""
        self.line(RULE)

    def json(self, value: Any) -> None:
        """The result as JSON."""
        import json

        self.line(json.dumps(value, indent=2, ensure_ascii=False))

    def error_line(self, text: str) -> None:
        """A line about the run."""
        self._write(self._err, text)

    def error(self, what: str, *, why: str = "", advice: str = "") -> None:
        """What failed, why, and what to do."""
        parts = [
            f"✗ {visible(what)}",
            *([f"  {visible(why)}"] if why else []),
            *([f"  → {visible(advice)}"] if advice else []),
        ]
        self.error_line("\n".join(parts))

    def warning(self, text: str) -> None:
        """Something the user should know although the run goes on."""
        self.error_line(f"! {visible(text)}")

    def asks(self, question: str) -> bool:
        """Ask on the terminal; no is the default. Raises click.Abort on Ctrl-C or at the end of input."""
        if self._before_line is not None:
            self._before_line()
        return click.confirm(question, err=True)

    def error_json(self, value: Any) -> None:
        """An error as JSON."""
        import json

        self.error_line(json.dumps(value, ensure_ascii=False))
