"""Every error this tool raises on purpose, and the exit code each one owns.

    QdrantBackupError
    ├── ConnectionFailed            no answer, or the connection broke for good
    │   └── NotQdrant               something answered, and it is not Qdrant's REST API
    ├── AccessDenied                no key, a wrong key, or a key without the right
    ├── OperationFailed             one step failed; nothing else is known to be wrong
    │   ├── CollectionFailed        a collection's backup or restore failed
    │   ├── CollectionMissing       a collection was named and does not exist
    │   ├── ServerRefused           Qdrant answered with an error status
    │   ├── NotUndoable             there is nothing to undo or to resume
    │   └── NotWritable             a local file or directory cannot be written or read
    ├── BackupNotFound              no backup of that name
    ├── BackupInvalid               there is something, and it is not a whole backup
    ├── InsufficientSpace           a disk is too full, or became full
    ├── ConfigFailed                a config file was not backed up or not restored
    ├── IntegrityFailed             bytes or content are not what they must be
    ├── ContentUnreadable           whole, but the embedded engine cannot open it
    ├── Locked                      another run is at work
    ├── Incompatible                version, schema or format do not fit
    ├── RefusedForSafety            a safety rule stands in the way
    ├── UsageError                  the command line or a setting makes no sense
    └── InternalError               a bug of ours

    KeyboardInterrupt
    └── Interrupted                 Ctrl-C, SIGTERM or SIGHUP; outside the tree, so that nothing which deals with an
                                    error of ours can mistake the user's wish to stop for one

A message has three parts: what failed, why, and what to do. `--json` carries the same as fields. Only `cli/` turns an
error into an exit; `docs/exit-codes.md` is checked against this module.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

__all__ = [
    "AccessDenied",
    "BackupInvalid",
    "BackupNotFound",
    "CollectionFailed",
    "CollectionMissing",
    "ConfigFailed",
    "ConnectionFailed",
    "ContentUnreadable",
    "ExitCodes",
    "Incompatible",
    "InsufficientSpace",
    "IntegrityFailed",
    "InternalError",
    "Interrupted",
    "Locked",
    "NotQdrant",
    "NotUndoable",
    "NotWritable",
    "OperationFailed",
    "QdrantBackupError",
    "RefusedForSafety",
    "ServerRefused",
    "UsageError",
]


@dataclasses.dataclass(frozen=True)
class ExitCodes:
    """The code an error ends the process with, by the command that met it.

    The guide gives `backup` and `restore` different meanings for 1 to 4, so one number is not enough.
    """

    backup: int
    restore: int
    others: int


def same(code: int) -> ExitCodes:
    """One code for every command."""
    return ExitCodes(code, code, code)


class QdrantBackupError(Exception):
    """The root: what failed, why, and what to do about it.

    Args:
        what: what failed, with the collection, path or URL in it.
        why: the cause, in the words of whoever reported it (the server's own text, the system's error).
        advice: what to do; the class's own sentence when left out.
        stage: the step of the run it happened in (`survey`, `transfer`, `apply`, ...).
        collection: the collection it concerns, where it concerns one.

    Attributes:
        outcomes: after a restore that failed, what became of each target, as (target, words) pairs.
    """

    codes: ClassVar[ExitCodes] = same(2)
    default_advice: ClassVar[str] = ""

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        advice: str | None = None,
        stage: str = "",
        collection: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.advice = self.default_advice if advice is None else advice
        self.stage = stage
        self.collection = collection
        self.outcomes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what

    def at(self, stage: str, collection: str | None = None) -> QdrantBackupError:
        """This error with its stage, and its collection, filled in where they were not known below."""
        self.stage = self.stage or stage
        self.collection = self.collection or collection
        return self


class ConnectionFailed(QdrantBackupError):
    """No answer from the server, or the connection broke and could not be resumed."""

    codes = ExitCodes(backup=1, restore=3, others=1)
    default_advice = (
        "Start the services (cd ~/.ai-memory/docker && docker compose up -d) and check QDRANT_HOST and QDRANT_PORT."
    )


class NotQdrant(ConnectionFailed):
    """Something answers there that is not Qdrant's REST API: a web page, a proxy's error, the gRPC port."""

    default_advice = (
        "Point QDRANT_HOST and QDRANT_PORT (or QDRANT_URL) at Qdrant's REST port, 6333 inside its container."
    )


class AccessDenied(QdrantBackupError):
    """The server wants a key, does not know this one, or gives it too few rights."""

    codes = same(9)
    default_advice = (
        "Set QDRANT_API_KEY to the key in the installation's .env (grep QDRANT_API_KEY ~/.ai-memory/docker/.env)."
    )


class OperationFailed(QdrantBackupError):
    """A step failed and nothing more specific is known."""

    codes = ExitCodes(backup=2, restore=4, others=2)
    default_advice = "`qdrant-backup check` looks for what could keep this from working; Qdrant's own log may say more."


class CollectionFailed(OperationFailed):
    """A collection's backup failed, or its restore did (what happened to its content stands in the report)."""


class CollectionMissing(OperationFailed):
    """A collection was named that does not exist there."""

    codes = same(2)
    default_advice = (
        "Check the spelling: names are case-sensitive. `qdrant-backup status` lists the server's collections."
    )


class ServerRefused(OperationFailed):
    """Qdrant answered with an error; its own text is the reason.

    Args:
        status: the HTTP status.
    """

    def __init__(self, what: str, *, status: int, why: str = "", advice: str | None = None) -> None:
        super().__init__(what, why=why, advice=advice)
        self.status = status


class NotUndoable(OperationFailed):
    """There is no restore to undo or to resume."""

    codes = same(2)


class NotWritable(OperationFailed):
    """A local path cannot be written, read or created."""

    codes = same(2)
    default_advice = "Choose another directory with --output, or give this user the rights to it."


class BackupNotFound(QdrantBackupError):
    """Nothing there is a backup of that name."""

    codes = ExitCodes(backup=2, restore=1, others=2)
    default_advice = (
        "`qdrant-backup list` shows the backups; name one by its path, its id, a unique prefix, or `latest`."
    )


class BackupInvalid(QdrantBackupError):
    """The path exists, and what is there is not a complete backup."""

    codes = same(2)
    default_advice = "Choose another backup: `qdrant-backup list` shows those that are complete."


class InsufficientSpace(QdrantBackupError):
    """A filesystem has too little room, or ran full. In `restore` it is the safety backup that found no room."""

    codes = ExitCodes(backup=3, restore=8, others=3)
    default_advice = "Free up space, or write to a larger volume with --output."


class ConfigFailed(QdrantBackupError):
    """The collections are safe, and a config file is not: it could not be backed up, or not be restored."""

    codes = ExitCodes(backup=4, restore=4, others=2)


class IntegrityFailed(QdrantBackupError):
    """Bytes or content differ from what they must be. Nothing was changed on their account."""

    codes = same(5)
    default_advice = (
        "Do not restore this one: `qdrant-backup list` shows the others, `qdrant-backup verify ID` checks one."
    )


class ContentUnreadable(QdrantBackupError):
    """The archive is whole, and the embedded engine cannot open it (too old, too new, or without vectors).

    A backup of it stands all the same, marked "content unverified"; only an operation that cannot go on without the
    content lets this error out.
    """

    codes = same(7)
    default_advice = "Allow it with --allow-unverified: the archive's bytes are checked, its points are not."


class Locked(QdrantBackupError):
    """Another run holds the backup directory."""

    codes = same(6)
    default_advice = "Wait until the other run has ended; its process id stands in the lock file."


class Incompatible(QdrantBackupError):
    """Server version, schema, topology or format do not fit."""

    codes = same(7)


class RefusedForSafety(QdrantBackupError):
    """A rule that keeps data safe stands in the way; the advice names the flag or the step that lifts it."""

    codes = same(8)


class UsageError(QdrantBackupError):
    """The command line or a setting makes no sense."""

    codes = same(64)
    default_advice = "See `qdrant-backup --help`."


class InternalError(QdrantBackupError):
    """A bug: something happened that this tool did not foresee."""

    codes = same(70)
    default_advice = "Please report it, with the lines above and the output of `qdrant-backup version`."


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP, raised in the main thread. Whoever has begun something cleans up and lets it pass.

    Args:
        signal_number: 2, 15 or 1; the exit code is 128 more.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"interrupted by signal {signal_number}")
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What shells expect of a process that a signal ended."""
        return 128 + self.signal_number


def interruption_behind(error: RuntimeError) -> Interrupted | None:
    """The signal whose place an error took, if one did.

    A signal may come between two lines of the locks that Python's library has written in Python
    (`threading.Condition.wait`, behind every future and every start of a thread). Leaving the lock fails then, "release
    unlocked lock", and that error goes on instead of the signal's.
    """
    hidden = error.__context__
    return hidden if isinstance(hidden, Interrupted) and "lock" in str(error) else None
