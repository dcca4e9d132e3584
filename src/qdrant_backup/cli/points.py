"""`points` and `facet`: what a backup's collections hold."""

from __future__ import annotations

import json
from typing import Any

import click

from qdrant_backup.cli.choosing import as_of_option
from qdrant_backup.cli.console import visible
from qdrant_backup.cli.looking import (
    backup_argument,
    collection_of,
    collection_option,
    filter_option,
    looking_into,
    only_collection,
    split_list,
)
from qdrant_backup.cli.options import json_option, settings_options
from qdrant_backup.cli.tables import table
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import OperationFailed
from qdrant_backup.operations.looking.filters import parse_filters
from qdrant_backup.operations.looking.reading import facet as facet_of
from qdrant_backup.operations.looking.reading import points as points_of
from qdrant_backup.operations.looking.search import point_id

__all__ = ["facet", "points"]


@click.command()
@backup_argument
@collection_option
@filter_option
@click.option("--ids", metavar="ID,ID", help="Only these points, in this order.")
@settings_options
@json_option
@click.pass_obj
def points(invocation: Any, backup: str | None, **flags: Any) -> None:
    """Print the points of a collection in BACKUP (default: `latest`): one JSON object {id, payload, vector} a line.

    Vectors are exact: the decimals read back to the same float32. A number that is none is the text "NaN".
    """
    wiring = Wiring(invocation, flags)
    condition = parse_filters(flags["filters"])
    ids = [point_id(part) for part in split_list(flags["ids"])] if flags["ids"] is not None else None
    only_collection(wiring, flags, backup)
    with looking_into(wiring, flags, backup) as (_, opened, _ports):
        for page in points_of(opened, collection_of(opened), condition=condition, ids=ids):
            if page:
                wiring.console.line("\n".join(json.dumps(point, ensure_ascii=False) for point in page))


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="[BACKUP] FIELD")
@collection_option
@filter_option
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many values.")
@as_of_option
@settings_options
@json_option
@click.pass_obj
def facet(invocation: Any, arguments: tuple[str, ...], **flags: Any) -> None:
    """Count the values of a payload FIELD in each collection of BACKUP (default: `latest`), the commonest first."""
    *backups, field = arguments
    if len(backups) > 1:
        raise click.UsageError("facet takes one BACKUP and one FIELD")
    wiring = Wiring(invocation, flags)
    condition = parse_filters(flags["filters"])
    counted: dict[str, list[tuple[Any, int]]] = {}
    with looking_into(wiring, flags, backups[0] if backups else None) as (chosen, opened, _):
        for collection in opened.collections:
            found = facet_of(opened, collection, field, limit=flags["limit"], condition=condition)
            if found or flags["collections"]:
                counted[collection.name] = found
    if not any(counted.values()):
        raise OperationFailed(
            f"no point has a value in {field!r}",
            why=f"none in {', '.join(flags['collections']) or chosen.backup_id}"
            + (" that the filter lets through" if condition else ""),
            advice="Check the spelling; `qdrant-backup points` shows which fields there are.",
        )
    if flags["as_json"]:
        wiring.console.json(
            {"field": field, "collections": {name: _values_json(found) for name, found in counted.items()}}
        )
        return
    for name, found in counted.items():
        wiring.console.line(f"  {visible(name)}")
        for line in table(
            [field, "POINTS"], [[_shown(value), str(count)] for value, count in found], right=frozenset({1})
        ):
            wiring.console.line(f"  {line}")


def _values_json(found: list[tuple[Any, int]]) -> list[dict[str, Any]]:
    return [{"value": value, "count": count} for value, count in found]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
