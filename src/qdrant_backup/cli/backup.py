"""`backup`, as the guide calls it."""

from __future__ import annotations

from typing import Any

import click

from qdrant_backup.cli.anomaly import ANOMALOUS
from qdrant_backup.cli.lines import BackupLines, Warnings, backup_summary, title
from qdrant_backup.cli.options import json_option, server_options
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.operations.backup import BackupRequest
from qdrant_backup.operations.backup import backup as make_backup
from qdrant_backup.operations.listing import look_at, show_json

__all__ = ["backup"]


@click.command()
@click.option("--collection", "include", multiple=True, metavar="GLOB", help="Only these collections (repeatable).")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these collections (repeatable).")
@click.option("--include-logs", is_flag=True, help="The installation's log files too.")
@click.option(
    "--method",
    type=click.Choice(["auto", "snapshot", "stream"]),
    default="auto",
    show_default=True,
    help="How archives leave the server; `stream` needs no disk there.",
)
@click.option("--strict", is_flag=True, help="End with 11 when the backup looks like a loss beside the one before it.")
@server_options
@json_option
@click.pass_obj
def backup(invocation: Any, **flags: Any) -> int:
    """Back up collections, aliases and config files into a new, dated directory.

    All collections by default. Nothing is listed as a backup until all of it is written, checked and durable.
    """
    wiring = Wiring(invocation, flags)
    request = BackupRequest(
        include=flags["include"], exclude=flags["exclude"], method=flags["method"], include_logs=flags["include_logs"]
    )
    as_json = flags["as_json"]
    if not as_json:
        title(wiring.console, "AI Memory Backup")
    warnings = Warnings(wiring.console)
    with wiring.ports(warnings if as_json else BackupLines(wiring.console), makes_directory=True) as ports, warnings:
        report = make_backup(request, ports)
    if as_json:
        shown = show_json(look_at(wiring.directory, str(report.backup.path)))
        wiring.console.json({**shown, "warnings": list(dict.fromkeys([*shown["warnings"], *warnings.texts]))})
    else:
        backup_summary(wiring.console, report.backup)
    if report.config_error is not None:
        raise report.config_error
    return ANOMALOUS if report.anomalies and flags["strict"] else 0
