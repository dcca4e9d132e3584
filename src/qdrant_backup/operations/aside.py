"""Work done beside the main thread, in threads that never keep the program from ending."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from qdrant_backup.errors import InternalError, OperationFailed, QdrantBackupError
from qdrant_backup.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["aside"]

Result = TypeVar("Result")


def aside(work: Callable[[], Result], name: str) -> Future[Result]:
    """Start `work` in a thread of its own; the future holds what it returns or raises.

    An executor's threads are joined when Python exits, so one that waits for a silent server would hold up a run that
    the user has ended; these are daemons.

    Raises:
        OperationFailed: no thread can be started.
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

    try:
        start(threading.Thread(target=run, name=name, daemon=True))
    except OSError as error:
        raise OperationFailed(
            f"No thread can be started for the {name}",
            why=error.strerror or str(error),
            advice="Raise the limit (`ulimit -v`, `ulimit -u`, or that of the container), then run the command again.",
        ) from error
    return future
