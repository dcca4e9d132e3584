"""`anomaly list` and `anomaly accept`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside
from qdrant_backup.cli.options import json_option, settings_options
from qdrant_backup.cli.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_backup.operations.anomaly import Suspect

__all__ = ["ANOMALOUS", "anomaly"]

ANOMALOUS = 11
"""The exit code of `backup --strict` when the backup is made and looks like a loss; an outcome, not an error."""


@click.group()
def anomaly() -> None:
    """Backups that look like a loss beside the one before them; `prune` waits for your word on them."""


@anomaly.command("list")
@settings_options
@json_option
@click.pass_obj
def list_suspects(invocation: Any, **flags: Any) -> None:
    """List the backups in which an anomaly was found, newest first."""
    from qdrant_backup.operations.anomaly import suspects

    wiring = Wiring(invocation, flags)
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        found = suspects(ports)
    if flags["as_json"]:
        wiring.console.json([_json(suspect) for suspect in found])
        return
    for suspect in found:
        for line in _lines(suspect):
            wiring.console.line(line)
    if not found:
        wiring.console.line("  No anomaly was found")


@anomaly.command()
@click.argument("backup")
@settings_options
@json_option
@click.pass_obj
def accept(invocation: Any, backup: str, **flags: Any) -> None:
    """Accept BACKUP as it is: it is no longer held against, and `prune` goes on."""
    from qdrant_backup.operations.anomaly import accept as accept_one

    wiring = Wiring(invocation, flags)
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        suspect = accept_one(ports, ports.directory.find(backup))
    if flags["as_json"]:
        wiring.console.json([_json(suspect)])
        return
    wiring.console.line(f"  ✓ {visible(suspect.backup_id)} is accepted")


def _lines(suspect: Suspect) -> Iterator[str]:
    state = "accepted" if suspect.accepted else "waits: prune deletes nothing"
    yield f"  {visible(suspect.backup_id)}, compared with {visible(suspect.previous)}: {state}"
    for finding in suspect.findings:
        yield f"      {visible(finding)}"


def _json(suspect: Suspect) -> dict[str, Any]:
    return {
        "backup": suspect.backup_id,
        "previous": suspect.previous,
        "findings": list(suspect.findings),
        "accepted": suspect.accepted,
    }
