"""How a run ends: every error becomes one message and one exit code here, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

from qdrant_backup.errors import (
    InternalError,
    Interrupted,
    OperationFailed,
    QdrantBackupError,
    UsageError,
    interruption_behind,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path
    from types import FrameType

__all__ = ["Invocation", "code_of", "ignore_signals", "run"]

_STOPPING = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
_RESTORING = frozenset({"restore", "undo", "resume"})
_CLASSES = {
    "AccessDenied": "auth",
    "InsufficientSpace": "space",
    "IntegrityFailed": "integrity",
    "Locked": "locked",
    "Incompatible": "incompatible",
    "RefusedForSafety": "safety",
    "UsageError": "usage",
    "ConnectionFailed": "connection",
}


# What these do is done and judged by their exit code, whoever reads what they say. All others exist for their output.
_WORKING = frozenset(
    {
        "backup",
        "restore",
        "undo",
        "resume",
        "verify",
        "recover",
        "prune",
        "check",
        "drill",
        "demo",
        "serve",
        "dev-server",
    }
)


class Invocation:
    """One call of the program: what `click` hands to every command as its object.

    Attributes:
        repository: whose `backups/` is the default backup directory.
        verb: the command's first word, which decides between the guide's two meanings of the codes 1 to 4.
        json: the command was asked for JSON, so errors are JSON too.
    """

    def __init__(self, words: Sequence[str], repository: Path) -> None:
        self.words = list(words)
        self.repository = repository
        self.verb = next((word for word in words if not word.startswith("-")), "")
        self.json = "--json" in words


def code_of(error: QdrantBackupError, verb: str) -> int:
    """The exit code of an error in that command."""
    if verb == "backup":
        return error.codes.backup
    return error.codes.restore if verb in _RESTORING else error.codes.others


def run(cli: click.Command, words: Sequence[str], repository: Path) -> int:
    """Run the command line; the exit code to end with."""
    _open_streams()
    from qdrant_backup.cli.console import Console

    invocation = Invocation(words, repository)
    console = Console(sys.stdout, sys.stderr)
    try:
        with _signals(console), _undisturbed() as lost:
            code = _run(cli, words, invocation)
        return code or _unless_lost(lost, invocation)
    except Interrupted as stop:
        return _interrupted(console, stop)
    except QdrantBackupError as error:
        code = code_of(error, invocation.verb)
        _report(console, error, code, as_json=invocation.json)
        return code
    except Exception as error:  # noqa: BLE001 - the last stop: whatever was not foreseen is a bug, and is reported as one
        if isinstance(error, RuntimeError) and (stop := interruption_behind(error)):
            return _interrupted(console, stop)
        import traceback

        bug = InternalError(
            "qdrant-backup met an error that it did not foresee", why=f"{type(error).__name__}: {error}"
        )
        console.error_line("".join(traceback.format_exception(error)).rstrip())
        _report(console, bug, code_of(bug, invocation.verb), as_json=invocation.json)
        return bug.codes.others
    finally:
        _let_go(sys.stderr)


def _interrupted(console: Any, stop: Interrupted) -> int:
    console.error("Interrupted", advice="What was begun has been cleaned up; run the command again.")
    return stop.exit_code


def _unless_lost(lost: list[str], invocation: Invocation) -> int:
    """0, unless all that the command was for is its output, and that did not arrive."""
    if lost and invocation.verb not in _WORKING:
        raise OperationFailed(
            "The output is not complete",
            why=lost[0],
            advice="Make room where it is written to, and run the command again.",
        )
    return 0


def _run(cli: click.Command, words: Sequence[str], invocation: Invocation) -> int:
    try:
        result = cli.main(list(words), prog_name="qdrant-backup", standalone_mode=False, obj=invocation)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.Abort as abort:
        raise _stop_behind(abort) from None
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "qdrant-backup"
        raise UsageError(error.format_message(), advice=f"See `{command} --help`.") from None
    except click.ClickException as error:
        raise UsageError(error.format_message()) from None
    return result if isinstance(result, int) else 0


def _stop_behind(abort: click.Abort) -> Interrupted:
    """The signal that ended the command: click makes one error of every KeyboardInterrupt and of the end of input."""
    link: BaseException | None = abort
    while link is not None:
        if isinstance(link, Interrupted):
            return link
        link = link.__cause__ or link.__context__
    return Interrupted(signal.SIGINT)


def _report(console: Any, error: QdrantBackupError, code: int, *, as_json: bool) -> None:
    if not as_json:
        console.error(error.what, why=error.why, advice=error.advice)
        return
    kind = next((_CLASSES[base.__name__] for base in type(error).__mro__ if base.__name__ in _CLASSES), "failed")
    fields: dict[str, Any] = {
        "class": kind,
        "code": code,
        "message": error.what + (f": {error.why}" if error.why else ""),
        "advice": error.advice,
        "stage": error.stage,
    }
    if error.collection:
        fields["collection"] = error.collection
    if error.outcomes:
        fields["outcomes"] = dict(error.outcomes)
    console.error_json({"error": fields})


def ignore_signals() -> None:
    """For the end of the process: what comes while the interpreter closes down must not change the exit code."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _signals(console: Any) -> Generator[None]:
    """Ctrl-C, SIGTERM and SIGHUP raise `Interrupted` once; while that cleans up, further ones only say so."""
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
        nonlocal stopping
        if stopping:
            with contextlib.suppress(RuntimeError):  # It came in the middle of a line that is being printed.
                console.error_line("Still cleaning up ...")
            return
        stopping = True
        raise Interrupted(number)

    before = [(number, signal.signal(number, stop)) for number in _STOPPING]
    try:
        yield
    finally:
        # Once one has come, the next must not end the process while it says how it ended.
        if not stopping:
            for number, handler in before:
                signal.signal(number, handler)


def _open_streams() -> None:
    """Give a process that was started without standard streams empty ones.

    Otherwise the next file that is opened, such as a snapshot's, takes the number of one, and whoever prints writes into it.
    """
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)  # The lowest free number is this one.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 - it stays open as long as the process


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _undisturbed() -> Generator[list[str]]:
    """A reader that went away (`| head`) ends the output, not the work; Python must not complain about it at exit.

    Yields:
        Empty at first; in the end, why output was lost that somebody still waits for: a full disk, not a reader who left.
    """
    lost: list[str] = []
    try:
        yield lost
    finally:
        lost += _let_go(sys.stdout)


def _let_go(stream: TextIO) -> list[str]:
    """Write what is left in a stream's buffer, or throw it away, so that Python does not end with 120 on its account.

    Returns:
        Why it could not be written, where somebody still waits for it.
    """
    try:
        stream.flush()  # What could not be written before is still in the buffer, and fails again.
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return [] if error.errno in {errno.EPIPE, errno.EBADF} else [error.strerror or str(error)]
    return []
