"""`status` and `check`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside, proven_restorable
from qdrant_backup.cli.options import json_option, server_options
from qdrant_backup.cli.tables import table
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import OperationFailed
from qdrant_backup.operations.check import check as look
from qdrant_backup.operations.listing import levels_unknown
from qdrant_backup.operations.status import status as look_at
from qdrant_backup.operations.status import status_json

if TYPE_CHECKING:
    from qdrant_backup.errors import QdrantBackupError
    from qdrant_backup.operations.status import Status

__all__ = ["check", "status"]

_MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}
_STEPS = ((172_800, 86_400, "days"), (7_200, 3_600, "hours"), (120, 60, "minutes"))


@click.command()
@server_options
@json_option
@click.pass_obj
def status(invocation: Any, **flags: Any) -> None:
    """Show the server, every collection with a memory read back from it, and the last backup.

    Ends with 1 when the server does not answer, and with 2 when a collection does not.
    """
    wiring = Wiring(invocation, flags)
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        found = look_at(ports)
    if found.catalogue_error is not None:
        wiring.console.warning(levels_unknown(found.catalogue_error))
    if flags["as_json"]:
        wiring.console.json(status_json(found))
    else:
        for line in _lines(found):
            wiring.console.line(line)
    if found.error is not None:
        raise found.error
    if found.ailing:
        names = ", ".join(collection.name for collection in found.ailing)
        raise OperationFailed(
            f"not every collection answers as it should: {names}",
            why=found.ailing[0].error,
            advice="Look into the server's log, and run `qdrant-backup check`.",
        )


def _lines(found: Status) -> list[str]:
    server = f"✓ Qdrant {found.server.version}" if found.server else "✗ no answer"
    rows = [
        [
            "✗" if collection.error else "✓",
            collection.name,
            "?" if collection.points is None else str(collection.points),
            "-" if collection.backed_up is None else str(collection.backed_up),
            collection.health,
            collection.error
            or (collection.excerpt or f"point {collection.retrieved}" if collection.points else "empty"),
        ]
        for collection in found.collections
    ]
    head = ["", "COLLECTION", "POINTS", "BACKED UP", "STATUS", "A MEMORY FROM IT"]
    return [
        f"  Server: {visible(found.url)}  {server}",
        "",
        *(table(head, rows, right=frozenset({2, 3})) if rows else []),
        *([""] if rows else []),
        f"  Last backup: {_last(found)}",
        f"  {_proven(found)}",
        *(["", *_unfinished(found.unfinished)] if found.unfinished else []),
    ]


def _unfinished(error: QdrantBackupError) -> list[str]:
    """What stands in the way of every further backup of its collections."""
    return [f"  ! {error}", f"    → {error.advice}"]


def _last(found: Status) -> str:
    if found.last is None or found.age_s is None:
        return "none yet (qdrant-backup backup)"
    backup = found.last.backup
    return f"{backup.backup_id}, {_age(found.age_s)}, level {found.last.level}, {backup.manifest.records} records"


def _proven(found: Status) -> str:
    if found.proven is None:
        return f"Proven restorable: {'unknown' if found.catalogue_error else 'no backup yet (qdrant-backup drill)'}"
    which = "" if found.last and found.proven.backup == found.last.backup else f" ({found.proven.backup.backup_id})"
    return proven_restorable(found.proven) + which


def _age(seconds: float) -> str:
    for border, unit, name in _STEPS:
        if seconds >= border:
            return f"{seconds / unit:.0f} {name} old"
    return f"{max(seconds, 0):.0f} seconds old"


@click.command()
@server_options
@json_option
@click.pass_obj
def check(invocation: Any, **flags: Any) -> None:
    """Look for what could keep a backup or a restore from working, and say what to do about it.

    Ends with 2 when something would fail; warnings end with 0.
    """
    wiring = Wiring(invocation, flags)
    findings: list[Any] = []
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        for finding in look(ports):
            findings.append(finding)
            if not flags["as_json"]:
                wiring.console.line(
                    f"  {_MARKS[finding.verdict]} {visible(finding.subject)}: {visible(finding.detail)}"
                )
                if finding.remedy:
                    wiring.console.line(f"      → {visible(finding.remedy)}")
    if flags["as_json"]:
        wiring.console.json({"findings": [dataclasses.asdict(finding) for finding in findings]})
    problems = [finding for finding in findings if finding.verdict == "problem"]
    if problems:
        raise OperationFailed(
            f"{len(problems)} problem(s) found",
            why="; ".join(f"{found.subject}: {found.detail}" for found in problems),
            advice=" ".join(dict.fromkeys(found.remedy for found in problems if found.remedy)),
        )
