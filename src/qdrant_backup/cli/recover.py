"""`recover`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside, taken_back_with
from qdrant_backup.cli.options import into_options, json_option, server_options, yes_option
from qdrant_backup.cli.point_ids import point_id_from
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import RefusedForSafety, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_backup.cli.console import Console
    from qdrant_backup.operations.looking.recover_values import RecoverPlan, RecoverRequest

__all__ = ["recover"]

_MARKS = {"added": "+", "overwritten": "~", "kept": "="}
_LARGEST_LIST_BYTES = 256 << 20


@click.command()
@click.argument("listed", metavar="[-]", required=False)
@click.option("--from", "source", default="latest", show_default=True, metavar="BACKUP", help="The backup.")
@click.option("--ids", multiple=True, metavar="ID,...", help="These points (repeatable).")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="FILTER",
    help="Points of the backup that match, such as type=decision.",
)
@click.option("--search", "words", metavar="WORDS", help="Points of the backup that answer best; --filter narrows it.")
@click.option(
    "--limit", type=click.IntRange(1, 10000), metavar="N", help="How many --search brings back (default: 10)."
)
@click.option("--deleted", is_flag=True, help="Points of the backup that the server has no more.")
@click.option("--collection", "collections", multiple=True, metavar="NAME", help="Only this collection (repeatable).")
@click.option(
    "--rename", "renames", multiple=True, metavar="OLD=NEW", help="Recover OLD's points into NEW (repeatable)."
)
@click.option("--overwrite", is_flag=True, help="Overwrite points that are there and differ; else they are kept.")
@click.option("--keep-newer", "newer_field", default="", metavar="FIELD", help="Overwrite those whose FIELD is older.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Mark what is recovered (repeatable).")
@click.option("--dry-run", is_flag=True, help="Show what would be done and end.")
@into_options
@yes_option
@server_options
@json_option
@click.pass_obj
def recover(invocation: Any, listed: str | None, *, yes: bool, **flags: Any) -> None:
    """Bring points back alone, from a backup into the live collections. `undo` takes it back.

    Say which by --ids, --search, --filter or --deleted, or give the output of `diff BACKUP live --json` or of
    `search BACKUP --json` on standard input with `-`.
    """
    from qdrant_backup.operations.looking.recover import Recovery
    from qdrant_backup.operations.looking.recover_values import recover_json
    from qdrant_backup.operations.looking.sides import Sides

    wiring = Wiring(invocation, flags)
    request = _request(listed, flags)
    console, as_json = wiring.console, flags["as_json"]
    with (
        wiring.ports(lambda event: aside(console, event), into_url=flags["into_url"]) as ports,
        Sides(ports) as sides,
        Recovery(ports, sides.backup(ports.directory.find(flags["source"])), request) as recovery,
    ):
        plan = recovery.plan()
        if not as_json:
            console.line(f"  Recover from {visible(plan.backup)} into {visible(ports.server.url)}")
            for line in _lines(plan):
                console.line(line)
        done = None
        if not flags["dry_run"]:
            _require_yes(console, plan, yes=yes)
            done = recovery.carry_out(plan)
    if as_json:
        console.json(recover_json(plan, done))
    elif done is not None:
        count = sum(done.written.values())
        back = f" (take it back with: {taken_back_with(flags['into_url'])})"
        console.line(f"  ✓ {count} point(s) recovered{back}" if plan.writes else "  Nothing to recover")


def _require_one_way(listed: str | None, flags: dict[str, Any]) -> None:
    """Points are chosen in one way; a search may be narrowed by a filter."""
    if listed not in {None, "-"}:
        raise UsageError(f"{listed!r} makes no sense here", why="`-` stands for a diff or a search on standard input")
    searched = flags["words"] is not None
    ways = [bool(flags["ids"]), searched or bool(flags["filters"]), flags["deleted"], listed is not None]
    if sum(ways) != 1:
        raise UsageError(
            "it is not said which points" if not any(ways) else "it is said twice which points",
            why="they are chosen by one of --ids, --search, --filter, --deleted, or what stands on standard input",
            advice="To bring back what was deleted: `qdrant-backup recover --from BACKUP --deleted`.",
        )
    if flags["limit"] and not searched:
        raise UsageError("--limit makes no sense here", why="it says how many points --search brings back")


def _request(listed: str | None, flags: dict[str, Any]) -> RecoverRequest:
    from qdrant_backup.operations.looking import recover_values as recovering
    from qdrant_backup.operations.looking.filters import parse_filters
    from qdrant_backup.operations.looking.search import Question

    _require_one_way(listed, flags)
    if flags["overwrite"] and flags["newer_field"]:
        raise UsageError("--overwrite and --keep-newer exclude each other", why="one of them decides")
    policy = recovering.OVERWRITE if flags["overwrite"] else recovering.MISSING_ONLY
    filters, words = parse_filters(flags["filters"]), flags["words"]
    asked = None if words is None else Question(words=words, condition=filters, limit=flags["limit"] or Question.limit)
    return recovering.RecoverRequest(
        collections=flags["collections"],
        ids=tuple(point_id_from(text) for each in flags["ids"] for text in each.split(",")),
        wanted=recovering.chosen_in(_standard_input()) if listed else None,
        question=asked,
        filters=filters,
        deleted=flags["deleted"],
        rename=dict(_pair(text, "--rename", "OLD=NEW") for text in flags["renames"]),
        policy=recovering.KEEP_NEWER if flags["newer_field"] else policy,
        newer_field=flags["newer_field"],
        set_fields={
            field: _value(text) for field, text in (_pair(each, "--set", "FIELD=VALUE") for each in flags["settings"])
        },
    )


def _pair(text: str, flag: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"{flag} {text!r} makes no sense", why=f"it is {form}")
    return name, value


def _value(text: str) -> Any:
    """JSON where it is some (`3`, `true`, `["a"]`), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _standard_input() -> bytes:
    text = sys.stdin.buffer.read(_LARGEST_LIST_BYTES + 1)
    if len(text) > _LARGEST_LIST_BYTES:
        raise UsageError("standard input is too large", why=f"it has more than {_LARGEST_LIST_BYTES} bytes")
    return text


def _lines(plan: RecoverPlan) -> Iterator[str]:
    if not plan.collections:
        yield "  No point was chosen"
    for name, chosen in plan.collections.items():
        renamed = "" if name == chosen.source else f" (from {visible(chosen.source)})"
        yield (
            f"  {visible(name)}{renamed}: {chosen.added} added, {chosen.overwritten} overwritten, {chosen.kept} kept"
        )
        for fate in chosen.shown:
            text = f"  {visible(fate.excerpt)}" if fate.excerpt else ""
            why = "" if fate.fate == "added" else f"  ({visible(fate.why)})"
            yield f"    {_MARKS[fate.fate]} {fate.id}{text}{why}"
        more = chosen.added + chosen.overwritten + chosen.kept - len(chosen.shown)
        if more:
            yield f"    ... and {more} more"


def _require_yes(console: Console, plan: RecoverPlan, *, yes: bool) -> None:
    if yes or not plan.writes:
        return
    if not sys.stdin.isatty():
        raise RefusedForSafety(
            "nothing was recovered", why="there is no terminal to ask on", advice="Add --yes to do it."
        )
    if not console.asks("  Recover these points?"):
        raise RefusedForSafety("nothing was recovered", why="it was not confirmed", advice="Add --yes to do it.")
