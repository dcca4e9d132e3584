"""`history`: what all backups tell of a point, or of the answers to a question."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.changes import field_lines
from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside
from qdrant_backup.cli.looking import filter_option
from qdrant_backup.cli.options import json_option, settings_options
from qdrant_backup.cli.point_ids import point_id_from
from qdrant_backup.cli.questions import question_from, ranking_options
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_backup.operations.looking.answers import AnswerEvent, Answers
    from qdrant_backup.operations.looking.history import Event

__all__ = ["history"]

_WORDS = {
    "first_seen": "first seen",
    "changed": "changed",
    "gone": "gone",
    "returned": "there again",
    "last_seen": "last seen",
}
_BECAME = {"entered": "", "moved": "", "changed": "changed: ", "left": "still there: ", "gone": "gone: "}
_PASSAGE = 100
_ONLY_FOR_QUERY = ("filters", "using", "embed_command", "embed_url", "embed_model", "hybrid", "limit", "live")


@click.command()
@click.argument("point_id", metavar="[ID]", required=False)
@click.option("--query", metavar="WORDS", help="Instead of ID: which points would have answered then, and now.")
@click.option("--collection", "collections", multiple=True, metavar="NAME", help="Only this collection (repeatable).")
@click.option("--limit", type=click.IntRange(1, 1000), help="How many answers count, with --query.  [default: 10]")
@click.option("--live", is_flag=True, help="With --query: ask the server as well, as the last one.")
@filter_option
@ranking_options
@settings_options
@json_option
@click.pass_obj
def history(invocation: Any, point_id: str | None, query: str | None, **flags: Any) -> None:
    """Show what all backups tell of the point ID: first seen, every change, last seen.

    With --query it is the answers that are followed: which entered, moved to another rank, changed or went, and when. They
    are ranked as by `search`: by words, or by their vector with --embed-command or --embed-url.
    """
    from qdrant_backup.operations.looking import history as telling

    wiring = Wiring(invocation, flags)
    _require_one(point_id, query, flags)
    if query is not None:
        _tell_answers(wiring, query, flags)
        return
    wanted = point_id_from(point_id or "")
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        events = telling.history(ports, wanted, flags["collections"])
    if flags["as_json"]:
        wiring.console.json(telling.history_json(events))
        return
    for event in events:
        for line in _lines(event):
            wiring.console.line(line)


def _require_one(point_id: str | None, query: str | None, flags: dict[str, Any]) -> None:
    if (point_id is None) == (query is None):
        raise UsageError(
            "both a point and a question were given"
            if query is not None
            else "neither a point nor a question was given",
            why="history follows one point, or the answers to one question",
            advice="Such as: qdrant-backup history 17, or: qdrant-backup history --query 'auth race'",
        )
    if query is None and any(flags[name] for name in _ONLY_FOR_QUERY):
        raise UsageError(
            "a question's flags were given without a question",
            why="a point is followed whatever its rank",
            advice="Give the question with --query WORDS.",
        )


def _lines(event: Event) -> Iterator[str]:
    backup = event.backup
    when = f"{backup.finished_at:%Y-%m-%d %H:%M:%S}"
    yield f"  {when}  {visible(event.collection)}  {_WORDS[event.what]} ({backup.backup_id})"
    for name in event.vectors:
        yield f"      vector {visible(name) or '(unnamed)'} changed"
    for field, change in event.fields.items():
        for line in field_lines(field, change):
            yield f"      {line}"


def _tell_answers(wiring: Wiring, query: str, flags: dict[str, Any]) -> None:
    from qdrant_backup.operations.looking.answers import answers, answers_json

    question = question_from(query, {**flags, "limit": flags["limit"] or 10})
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        told = answers(ports, question, flags["collections"], live=flags["live"])
    if flags["as_json"]:
        wiring.console.json(answers_json(told))
        return
    for line in _answer_lines(told, query, wiring):
        wiring.console.line(line)


def _answer_lines(told: Answers, query: str, wiring: Wiring) -> Iterator[str]:
    """The answers of the first backup, each later one in which they changed, and the answers of now."""
    from qdrant_backup.cli.hits import marked, passage

    def shown(event: AnswerEvent) -> Iterator[str]:
        text = marked(visible(passage(event.hit.payload, query, _PASSAGE)), query, wiring.console)
        where = f"{visible(event.hit.collection)}  {event.hit.id}"
        yield f"  {_rank(event)}  {where}  {_BECAME[event.what]}{text}"
        for field, change in event.fields.items():
            for line in field_lines(field, change):
                yield f"              {line}"

    for moment, events in itertools.groupby(told.events, key=lambda event: event.moment):
        named = "the server, now" if moment.is_live else moment.name
        yield f"  {moment.at:%Y-%m-%d %H:%M:%S}  ({named})"
        for event in events:
            yield from shown(event)
    last = told.moments[-1]
    named = "The server" if last.is_live else f"The newest backup that was asked, {last.name},"
    if not told.events:
        yield "  Nothing found, in none of them"
    elif told.events[-1].moment == last and len(told.moments) > 1:
        yield f"  {named} answers:"
        for rank, hit in enumerate(told.now, 1):
            text = marked(visible(passage(hit.payload, query, _PASSAGE)), query, wiring.console)
            yield f"      {rank:>3}.  {visible(hit.collection)}  {hit.id}  {text}"
    else:
        yield f"  {named} answers the same"


def _rank(event: AnswerEvent) -> str:
    """The rank: of one that entered or left behind a sign, of one that moved before and after."""
    if event.before is None:
        return f"  + {event.after:>3}."
    if event.after is None:
        return f"  - {event.before:>3}."
    moved = event.before != event.after
    return f"{event.before:>3}→{event.after:>3}." if moved else f"    {event.after:>3}."
