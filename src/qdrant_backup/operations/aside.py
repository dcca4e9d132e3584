"""Work done beside the main thread, in threads that never keep the program from ending."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from qdrant_backup.errors import InternalError, QdrantBackupError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["aside"]

Result = TypeVar("Result")


def aside(work: Callable[[], Result], name: str) -> Future[Result]:
    """Start `work` in a thread of its own; the future holds what it returns or raises.

    An executor's threads are joined when Python exits, so one that waits for a silent server would hold up a run that
    the user has ended; these are daemons.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except QdrantBackupError as error:
            future.set_exception(error)
        finally:
            # A bug in `work` must not leave the main thread waiting for ever; the thread itself reports the traceback.
            if not future.done():
                future.set_exception(InternalError(f"{name} ended with an error that was not foreseen"))

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
