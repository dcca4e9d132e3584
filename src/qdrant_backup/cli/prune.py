"""`prune`."""

from __future__ import annotations

from typing import Any

import click

from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside
from qdrant_backup.cli.options import json_option, settings_options, yes_option
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.model import human_size
from qdrant_backup.operations.prune import Fate, Pruned, PrunePlan, prune_plan, remedy
from qdrant_backup.operations.prune import prune as carry_out

__all__ = ["prune"]


@click.command()
@click.option(
    "--keep-days", type=click.IntRange(min=0), required=True, metavar="N", help="Keep what is younger than N days."
)
@yes_option
@settings_options
@json_option
@click.pass_obj
def prune(invocation: Any, keep_days: int, *, yes: bool, **flags: Any) -> None:
    """Delete backups older than `--keep-days`, but never the newest good one of any collection.

    Without `--yes` it only says what would go. While a backup looks like a loss, nothing goes: `anomaly list`. Safety backups of ended restores go when their days are over.
    """
    wiring = Wiring(invocation, flags)
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        decided = prune_plan(ports, keep_days)
        pruned = carry_out(ports, decided) if yes else Pruned()
    if flags["as_json"]:
        wiring.console.json({"deleted": [*pruned.deleted, *pruned.expired], **_json(decided, done=yes)})
        return
    held = bool(decided.waiting) and not yes
    for fate in decided.fates:
        wiring.console.line(_line(fate, done=yes, held=held))
    for path in decided.untouched:
        wiring.console.line(f"  ! {visible(path.name)}  untouched: it is not a backup")
    if pruned.expired:
        wiring.console.line(f"  - {len(pruned.expired)} safety backup(s) of ended restores")
    count, size = len(decided.doomed), human_size(decided.freed_bytes)
    ending = "deleted" if yes else "held back" if held else "would be deleted; add --yes to do it"
    wiring.console.line(f"  {count} backup(s), {size}: {ending}" if count else "  Nothing to delete")
    for suspect in decided.waiting if held else ():
        wiring.console.line(f"  ! Nothing is deleted: backup {suspect.backup_id} looks like a loss")
        for finding in suspect.findings:
            wiring.console.line(f"      {visible(finding)}")
        wiring.console.line(f"    → {visible(remedy(suspect))}")


def _line(fate: Fate, *, done: bool, held: bool) -> str:
    mark = "  keep  " if fate.stays else "  gone  " if done else "  held  " if held else "  delete"
    return f"{mark} {visible(fate.backup.backup_id)}  {visible(fate.reason)}"


def _json(decided: PrunePlan, *, done: bool) -> dict[str, Any]:
    return {
        "dry_run": not done,
        "freed_bytes": decided.freed_bytes,
        "backups": [{"id": fate.backup.backup_id, "keep": fate.stays, "reason": fate.reason} for fate in decided.fates],
        "untouched": [str(path) for path in decided.untouched],
        "waiting": [
            {"backup": one.backup_id, "previous": one.previous, "findings": list(one.findings)}
            for one in decided.waiting
        ],
    }
