"""Starting threads: a limit that is reached is said as what it is, and a signal that comes meanwhile is not lost."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from qdrant_backup.errors import interruption_behind

if TYPE_CHECKING:
    import threading

__all__ = ["start"]


def start(thread: threading.Thread) -> None:
    """Start a thread and wait until it runs.

    Raises:
        OSError: EAGAIN, the system gives no more threads.
        Interrupted: a signal came.
    """
    try:
        thread.start()
    except RuntimeError as error:
        stop = interruption_behind(error)
        if stop is not None:
            raise stop from None
        raise OSError(errno.EAGAIN, f"{error}: a limit on memory or on processes is reached") from error
