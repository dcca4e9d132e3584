"""`history`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.changes import field_lines
from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside
from qdrant_backup.cli.options import json_option, settings_options
from qdrant_backup.cli.point_ids import point_id_from
from qdrant_backup.cli.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_backup.operations.looking.history import Event

__all__ = ["history"]

_WORDS = {
    "first_seen": "first seen",
    "changed": "changed",
    "gone": "gone",
    "returned": "there again",
    "last_seen": "last seen",
}


@click.command()
@click.argument("point_id", metavar="ID")
@click.option("--collection", "collections", multiple=True, metavar="NAME", help="Only this collection (repeatable).")
@settings_options
@json_option
@click.pass_obj
def history(invocation: Any, point_id: str, **flags: Any) -> None:
    """Show what all backups tell of the point ID: first seen, every change, last seen."""
    from qdrant_backup.operations.looking import history as telling

    wiring = Wiring(invocation, flags)
    wanted = point_id_from(point_id)
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        events = telling.history(ports, wanted, flags["collections"])
    if flags["as_json"]:
        wiring.console.json(telling.history_json(events))
        return
    for event in events:
        for line in _lines(event):
            wiring.console.line(line)


def _lines(event: Event) -> Iterator[str]:
    backup = event.backup
    when = f"{backup.finished_at:%Y-%m-%d %H:%M:%S}"
    yield f"  {when}  {visible(event.collection)}  {_WORDS[event.what]} ({backup.backup_id})"
    for name in event.vectors:
        yield f"      vector {visible(name) or '(unnamed)'} changed"
    for field, change in event.fields.items():
        for line in field_lines(field, change):
            yield f"      {line}"
