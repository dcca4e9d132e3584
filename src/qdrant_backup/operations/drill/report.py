"""What a drill found, as values."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any

from qdrant_backup.errors import ContentUnreadable, IntegrityFailed
from qdrant_backup.storage.catalogue import Level

if TYPE_CHECKING:
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["DAMAGED", "Check", "DrillReport", "Outcome", "failed", "passed", "report_json", "skipped", "warned"]

DAMAGED = "damaged"
_OF_BYTES = frozenset({"files", "open", "counts", "digest"})
_SHOWN = 5


class Outcome(str, enum.Enum):
    """How a check went. WARNED and SKIPPED keep no backup from being proven, except that it could not be opened."""

    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"
    SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True)
class Check:
    """One assertion.

    Attributes:
        collection: its name in the backup; empty for one about the whole backup.
        name: `files`, `open`, `restore`, `counts`, `digest`, `config`, `indexes`, `shards`, `aliases`, `golden` or
            `golden-index`.
        detail: what was found, for people.
    """

    collection: str
    name: str
    outcome: Outcome
    detail: str = ""


def passed(collection: str, name: str, detail: str = "") -> Check:
    """A check that passed."""
    return Check(collection, name, Outcome.PASSED, detail)


def failed(collection: str, name: str, detail: str) -> Check:
    """A check that failed."""
    return Check(collection, name, Outcome.FAILED, detail)


def warned(collection: str, name: str, detail: str) -> Check:
    """A check whose result somebody should look at."""
    return Check(collection, name, Outcome.WARNED, detail)


def skipped(collection: str, name: str, detail: str) -> Check:
    """A check that there was nothing for."""
    return Check(collection, name, Outcome.SKIPPED, detail)


@dataclasses.dataclass(frozen=True)
class DrillReport:
    """A drill that came to its end.

    Attributes:
        server: the server it restored into, without secrets; empty for the embedded engine.
        whole: every collection of the backup was drilled. A part proves nothing of the rest.
    """

    backup: StoredBackup
    server: str
    checks: tuple[Check, ...]
    whole: bool = True

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILED)

    @property
    def unjudged(self) -> tuple[Check, ...]:
        """The collections that could not be opened, so that nothing is known of them."""
        return tuple(check for check in self.checks if (check.name, check.outcome) == ("open", Outcome.SKIPPED))

    @property
    def is_damaged(self) -> bool:
        """Whether bytes of the backup are at fault, rather than what a restore makes of them."""
        names = {"files"} if self.server else _OF_BYTES
        return any(check.name in names for check in self.failures)

    @property
    def passed(self) -> bool:
        """Whether it proves that the backup can be restored."""
        return not self.failures and not self.unjudged

    @property
    def level(self) -> Level | None:
        """How far the backup was proven; None when it is damaged."""
        if self.is_damaged:
            return None
        if self.passed:
            return Level.DRILL
        return Level.ARCHIVE if self.unjudged or self.server else Level.CONTENT

    def raise_for_outcome(self) -> None:
        """Raises IntegrityFailed when a check failed, ContentUnreadable when something could not be opened."""
        name = self.backup.backup_id
        if self.failures:
            more = f"; and {len(self.failures) - _SHOWN} more" if len(self.failures) > _SHOWN else ""
            raise IntegrityFailed(
                f"the drill of backup {name} failed",
                why="; ".join(_sentence(check) for check in self.failures[:_SHOWN]) + more,
            )
        if self.unjudged:
            raise ContentUnreadable(
                f"not all of backup {name} could be drilled",
                why="; ".join(_sentence(check) for check in self.unjudged[:_SHOWN]),
                advice="Drill it on a server that reads it: `qdrant-backup drill --server URL`.",
            )


def _sentence(check: Check) -> str:
    where = f"{check.collection}: " if check.collection else ""
    return f"{where}{check.name}: {check.detail}"


def report_json(report: DrillReport) -> dict[str, Any]:
    """`drill --json`; `docs/json.md` holds the schema."""
    return {
        "id": report.backup.backup_id,
        "path": str(report.backup.path),
        "server": report.server or None,
        "passed": report.passed,
        "whole": report.whole,
        "level": report.level.value if report.level else DAMAGED,
        "checks": [
            {
                "collection": check.collection or None,
                "name": check.name,
                "outcome": check.outcome.value,
                "detail": check.detail,
            }
            for check in report.checks
        ],
    }
