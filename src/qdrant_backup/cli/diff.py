"""`diff`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.changes import field_lines, shown_value, side_of
from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside
from qdrant_backup.cli.options import json_option, server_options
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_backup.operations.looking.diff import CollectionDiff, Counts, Diff, PointDiff

__all__ = ["DIFFERENT", "diff"]

DIFFERENT = 10
"""The exit code for two sides that differ; an outcome, not an error."""

_LIMIT = 20
_MARKS = {"added": "+", "removed": "-", "changed": "~"}


@click.command()
@click.argument("before")
@click.argument("after", default="live")
@click.option("--collection", "collections", multiple=True, metavar="NAME", help="Only this collection (repeatable).")
@click.option("--by", default="", metavar="FIELD", help="Count by a payload field too, such as group_id or meta.kind.")
@click.option("--stat", is_flag=True, help="Counts only; no point is read.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"List N points of each collection, 0 for all (default: {_LIMIT}, with --json all).",
)
@server_options
@json_option
@click.pass_obj
def diff(invocation: Any, before: str, after: str, **flags: Any) -> int:
    """Show what separates BEFORE from AFTER: two backups, or a backup and `live`, what the server holds now.

    Ends with 0 when both hold the same, and with 10 when they differ.
    """
    from qdrant_backup.operations.looking import diff as comparing
    from qdrant_backup.operations.looking.sides import Sides

    if before == after:
        raise UsageError(f"{before!r} is compared with itself", why="a diff needs two sides")
    wiring = Wiring(invocation, flags)
    request = comparing.DiffRequest(
        flags["collections"],
        flags["by"],
        listed=not flags["stat"],
        limit=_limit(flags["limit"], as_json=flags["as_json"]),
    )
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports, Sides(ports) as sides:
        old, new = sides.side(before), sides.side(after)
        found = comparing.diff(request, old, new)
    if flags["as_json"]:
        wiring.console.json(comparing.diff_json(found, listed=request.listed))
    else:
        for line in _lines(found, old.label, new.label):
            wiring.console.line(line)
    return 0 if found.same else DIFFERENT


def _limit(asked: int | None, *, as_json: bool) -> int | None:
    if asked is None:
        return None if as_json else _LIMIT
    return asked or None


def _lines(found: Diff, before: str, after: str) -> Iterator[str]:
    yield f"  - {visible(before)}"
    yield f"  + {visible(after)}"
    yield ""
    for name, one in found.collections.items():
        yield from _collection(name, one)
    for alias, change in found.aliases.items():
        yield f"  alias {visible(alias)}: {side_of(change, 'before')} → {side_of(change, 'after')}"
    if found.same:
        yield "  Nothing differs"


def _collection(name: str, found: CollectionDiff) -> Iterator[str]:
    only = {"both": "", "before": " (only before)", "after": " (only after)"}[found.presence]
    yield f"  {visible(name)}{only}: {'the same' if found.same else _counted(found.counts)}"
    for group, counts in sorted(found.by.items()):
        yield f"    {visible(group) or '(without)'}: {_counted(counts)}"
    for point in found.points:
        yield from _point(point)
    if found.cut:
        yield "    ... and more: --limit 0 lists all"
    for each in found.config:
        yield f"    config {visible(each.field)}: {shown_value(each.backup)} → {shown_value(each.target)}"
    for field, change in found.indexes.items():
        yield f"    payload index {visible(field)}: {side_of(change, 'before')} → {side_of(change, 'after')}"
    if not found.config_known:
        yield "    (config and indexes were not compared: the original scripts kept none)"


def _counted(counts: Counts) -> str:
    words = [f"{count} {name.replace('_', ' ')}" for name, count in dataclasses.asdict(counts).items() if count]
    return ", ".join(words) or "no point differs"


def _point(point: PointDiff) -> Iterator[str]:
    from qdrant_backup.operations.looking.recover_values import excerpt

    side = "after" if point.change == "added" else "before"
    known = {field: change[side] for field, change in point.fields.items() if side in change}
    text = "" if point.change == "changed" else excerpt(known)
    yield f"    {_MARKS[point.change]} {point.id}{f'  {visible(text)}' if text else ''}"
    if point.change != "changed":
        return
    for name in point.vectors:
        yield f"        vector {visible(name) or '(unnamed)'} changed"
    for field, change in point.fields.items():
        for line in field_lines(field, change):
            yield f"        {line}"
