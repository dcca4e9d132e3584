"""What became of each target, in the words of the report."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdrant_backup.errors import ConfigFailed

__all__ = ["Outcome", "RestoreReport", "TargetReport"]


class Outcome(str, enum.Enum):
    """The last word on one target."""

    NEW = "new content"
    PREVIOUS = "previous content"
    GONE = "gone"
    UNTOUCHED = "untouched"
    NOT_RESTORED = "NOT RESTORED"


@dataclasses.dataclass(frozen=True)
class TargetReport:
    """One collection of the server after the run.

    Attributes:
        target: its name on the server.
        source: its name in the backup.
        outcome: what it holds now.
        records: points it should hold now, where that is known; for the summary.
        unverified: why its content could not be judged; empty where it was.
        note: what else the user should know of it: a reason, changes that were displaced and where they are.
    """

    target: str
    source: str
    outcome: Outcome
    records: int = 0
    unverified: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """A restore, undo or resume that ended as it should.

    Attributes:
        restore_id: as journal and undo record name it.
        backup_path: what was restored.
        targets: in the order they were restored.
        aliases: those that were moved or created, with their collection.
        safety_path: the safety backup; empty where none was needed or wanted.
        config_files: names of the config files put back.
        config_failure: set when the collections are restored and a config file is not; raise it after the report.
        warnings: what was overridden, left alone or cannot be known.
    """

    restore_id: str
    backup_path: str
    targets: tuple[TargetReport, ...]
    aliases: tuple[tuple[str, str], ...] = ()
    safety_path: str = ""
    config_files: tuple[str, ...] = ()
    config_failure: ConfigFailed | None = None
    warnings: tuple[str, ...] = ()

    @property
    def records(self) -> int:
        """Points in all restored targets together."""
        return sum(target.records for target in self.targets if target.outcome is not Outcome.GONE)
