"""`restore`, as the guide calls it; `undo` and `resume`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import RestoreLines, taken_back_with, title
from qdrant_backup.cli.options import into_options, json_option, server_options, yes_option
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import RefusedForSafety, UsageError
from qdrant_backup.operations.events import say_nothing

if TYPE_CHECKING:
    from collections.abc import Collection

    from qdrant_backup.cli.console import Console
    from qdrant_backup.operations.restore.outcome import RestoreReport
    from qdrant_backup.operations.restore.plan import RestorePlan
    from qdrant_backup.operations.restore.requests import RestoreRequest

__all__ = ["restore", "resume", "undo"]


@click.command()
@click.argument("backup")
@click.option("--collection", "collections", multiple=True, metavar="NAME", help="Only this collection (repeatable).")
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="Restore OLD as NEW (repeatable).")
@click.option("--replace", is_flag=True, help="Drop what exists and recreate it, config and all.")
@click.option("--restore-config", is_flag=True, help="Put the config files back too; the old ones are kept as .bak.")
@click.option("--force", is_flag=True, help="Overwrite without asking.")
@click.option("--dry-run", is_flag=True, help="Show the plan and end.")
@into_options
@click.option("--no-safety", is_flag=True, help="Take no safety backup first: a failure cannot be undone.")
@click.option("--allow-version", is_flag=True, help="Restore although the server's version does not fit.")
@click.option("--allow-writers", is_flag=True, help="Restore although somebody writes to a target; that is lost.")
@click.option("--allow-unverified", is_flag=True, help="Restore although some content could not be verified.")
@server_options
@json_option
@click.pass_obj
def restore(invocation: Any, **flags: Any) -> None:
    """Restore BACKUP (a path, an id, a unique prefix, or `latest`).

    What is replaced is backed up first. If anything fails, everything is put back as it was.
    """
    from qdrant_backup.operations.restore import plan, run

    wiring = Wiring(invocation, flags)
    request = _request(flags)
    console, as_json = wiring.console, flags["as_json"]
    if not as_json:
        title(console, "AI Memory Restore")
    with wiring.ports(say_nothing if as_json else RestoreLines(console), into_url=flags["into_url"]) as ports:
        if flags["dry_run"]:
            _, decided = run.prepare(request, ports)
            if as_json:
                console.json(json.loads(plan.to_json(decided)))
            else:
                _show_plan(console, decided)
            plan.refuse_blocked(decided)
            return
        report = run.restore(request, ports, lambda decided: _confirmed(console, decided, force=flags["force"]))
    _conclude(console, report, as_json=as_json, verb="Restore", back=taken_back_with(flags["into_url"]))


def _request(flags: dict[str, Any]) -> RestoreRequest:
    from qdrant_backup.operations.restore.requests import RestoreRequest

    renames: dict[str, str] = {}
    for text in flags["renames"]:
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise UsageError(f"--rename {text!r} makes no sense", why="it is OLD=NEW, two collection names")
        if old in renames:
            raise UsageError(f"--rename names {old!r} twice", why="a collection gets one new name")
        renames[old] = new
    return RestoreRequest(
        reference=flags["backup"],
        collections=flags["collections"],
        rename=renames,
        replace=flags["replace"],
        restore_config=flags["restore_config"],
        no_safety=flags["no_safety"],
        allow_version=flags["allow_version"],
        allow_writers=flags["allow_writers"],
        allow_unverified=flags["allow_unverified"],
    )


def _show_plan(console: Console, decided: RestorePlan) -> None:
    from qdrant_backup.operations.restore.plan import plan_lines

    console.line("  Plan:")
    for line in plan_lines(decided):
        console.line(f"    {visible(line)}")
    console.line()


def _confirmed(console: Console, decided: RestorePlan, *, force: bool) -> bool:
    if force:
        return True
    if not sys.stdin.isatty():
        raise RefusedForSafety(
            "the restore was not confirmed",
            why="there is no terminal to ask on",
            advice="Look at the plan with --dry-run, then restore with --force.",
        )
    _show_plan(console, decided)
    return console.asks("  Restore this?")


def _conclude(console: Console, report: RestoreReport, *, as_json: bool, verb: str, back: str) -> None:
    if as_json:
        console.json(_report_json(report))
    else:
        _summary(console, report, verb, back)
    if report.config_failure is not None:
        raise report.config_failure


def _summary(console: Console, report: RestoreReport, verb: str, back: str) -> None:
    console.line()
    console.rule()
    console.line(f"  ✓ {verb} complete")
    console.line()
    console.line(f"  Collections restored: {len(report.targets)}")
    console.line(f"  Total records: {sum(target.records for target in report.targets)}")
    if report.safety_path:
        console.line(f"  Safety backup: {visible(report.safety_path)} (take this back with: {back})")
    console.rule()


def _report_json(report: RestoreReport) -> dict[str, Any]:
    return {
        "restore_id": report.restore_id,
        "backup_path": report.backup_path,
        "collections": {
            target.target: {
                "source": target.source,
                "outcome": target.outcome.value,
                "records": target.records,
                "unverified": target.unverified or None,
            }
            for target in report.targets
        },
        "aliases": dict(report.aliases),
        "safety_path": report.safety_path or None,
        "config_files": list(report.config_files),
        "warnings": list(report.warnings),
    }


@click.command()
@yes_option
@click.option("--force-changes", is_flag=True, help="Undo although the collections were changed since the restore.")
@click.option("--allow-unverified", is_flag=True, help="Undo although some content could not be verified.")
@into_options
@server_options
@json_option
@click.pass_obj
def undo(invocation: Any, *, yes: bool, **flags: Any) -> None:
    """Take the last restore back, or one that was killed half-way."""
    from qdrant_backup.operations.restore import undo as undoing
    from qdrant_backup.operations.restore.requests import UndoRequest

    wiring = Wiring(invocation, flags)
    console, as_json = wiring.console, flags["as_json"]
    request = UndoRequest(force_changes=flags["force_changes"], allow_unverified=flags["allow_unverified"])
    lines_of = RestoreLines(console)
    with wiring.ports(say_nothing if as_json else lines_of, into_url=flags["into_url"]) as ports:
        decided = undoing.plan_undo(ports)
        source = f"previous content, from {decided.safety_path}"
        if decided.kind == "recovery":
            source = "the points that were recovered are as they were before"
        lines = [
            f"Undo the {decided.kind} of {decided.started_at}",
            *(f"  {name}: {source}" for name in decided.restored),
            *(f"  {name}: deleted, since the restore created it" for name in decided.removed),
            *(f"  alias {alias}: {collection or 'removed'}" for alias, collection in decided.aliases),
        ]
        _require_yes(console, lines, yes=yes, as_json=as_json)
        report = undoing.undo(ports, request)
    _conclude_undo(console, report, lines_of.told, as_json=as_json)


@click.command()
@yes_option
@into_options
@server_options
@json_option
@click.pass_obj
def resume(invocation: Any, *, yes: bool, **flags: Any) -> None:
    """Finish a restore that was killed; `undo` would put everything back instead."""
    from qdrant_backup.operations.restore import resume as resuming

    wiring = Wiring(invocation, flags)
    console, as_json = wiring.console, flags["as_json"]
    with wiring.ports(say_nothing if as_json else RestoreLines(console), into_url=flags["into_url"]) as ports:
        decided = resuming.plan_resume(ports)
        lines = [
            f"Resume the {decided.kind} of {decided.backup_path}, begun {decided.started_at}",
            *(f"  {name}: {state}" for name, state in decided.states),
        ]
        _require_yes(console, lines, yes=yes, as_json=as_json)
        report = resuming.resume(ports)
    verb = decided.kind.capitalize()
    _conclude(console, report, as_json=as_json, verb=verb, back=taken_back_with(flags["into_url"]))


def _require_yes(console: Console, lines: list[str], *, yes: bool, as_json: bool) -> None:
    """Show what will happen; without --yes ask, and without a terminal refuse."""
    if not as_json:
        for line in lines:
            console.line(f"  {visible(line)}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedForSafety("nothing was done", why="there is no terminal to ask on", advice="Add --yes to do it.")
    if not console.asks("  Do this?"):
        raise RefusedForSafety("nothing was done", why="it was not confirmed", advice="Add --yes to do it.")


def _conclude_undo(console: Console, report: RestoreReport, told: Collection[str], *, as_json: bool) -> None:
    if as_json:
        console.json(_report_json(report))
        return
    for target in report.targets:
        if target.target not in told:
            console.line(f"    ✓ {visible(target.target)}: {target.outcome.value}")
    for warning in report.warnings:
        console.warning(warning)
    console.line("  ✓ Undo complete")
