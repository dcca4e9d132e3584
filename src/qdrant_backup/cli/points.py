"""`points` and `facet`: what a backup's collections hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from qdrant_backup.errors import OperationFailed, UsageError
from qdrant_backup.model import human_size
from qdrant_backup.operations.looking.filters import parse_filters
from qdrant_backup.operations.looking.parquet import require_parquet, write_parquet
from qdrant_backup.operations.looking.reading import facet as facet_of
from qdrant_backup.operations.looking.reading import points as points_of
from qdrant_backup.operations.looking.search import point_id
from qdrant_backup.storage.exported import exported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_backup.model import Progress
    from qdrant_backup.operations.looking.opening import OpenedBackups, OpenedCollection

__all__ = ["facet", "points"]


@click.command()
@backup_argument
@collection_option
@filter_option
@click.option("--ids", metavar="ID,ID", help="Only these points, in this order.")
@click.option(
    "--parquet", metavar="FILE", help="Write them to this file instead, as Parquet with exact float32 vectors."
)
@click.option("--force", is_flag=True, help="Replace FILE where there is one.")
@settings_options
@json_option
@click.pass_obj
def points(invocation: Any, backup: str | None, **flags: Any) -> None:
    """Print the points of a collection in BACKUP (default: `latest`): one JSON object {id, payload, vector} a line.

    Vectors are exact: the decimals read back to the same float32. A number that is none is the text "NaN".
    """
    if flags["parquet"] is not None:
        require_parquet()
    elif flags["force"]:
        raise UsageError("--force was given without --parquet", why="only a file can be replaced")
    wiring = Wiring(invocation, flags)
    condition = parse_filters(flags["filters"])
    ids = [point_id(part) for part in split_list(flags["ids"])] if flags["ids"] is not None else None
    only_collection(wiring, flags, backup)
    with looking_into(wiring, flags, backup) as (_, opened, ports):
        collection = collection_of(opened)
        pages = points_of(opened, collection, condition=condition, ids=ids)
        if flags["parquet"] is not None:
            told = _written(opened, collection, pages, flags, ports.progress)
            _tell_written(wiring, told, as_json=flags["as_json"])
            return
        for page in pages:
            if page:
                wiring.console.line("\n".join(json.dumps(point, ensure_ascii=False) for point in page))


def _written(
    opened: OpenedBackups,
    collection: OpenedCollection,
    pages: Iterator[list[dict[str, Any]]],
    flags: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """The points in the file that was named, and what is to be said of it."""
    path = Path(flags["parquet"]).expanduser()
    params = opened.server.collection(collection.name).config["params"]
    about = {"collection": collection.name, "backup": collection.backup.backup_id}
    progress.begin(f"Writing {collection.name}", None)
    try:
        with exported(path, force=flags["force"]) as file:
            count = write_parquet(pages, file, params=params, about=about, progress=progress)
    finally:
        progress.end()
    return {**about, "path": str(path), "points": count, "size_bytes": file.size_bytes}


def _tell_written(wiring: Wiring, told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        wiring.console.json(told)
        return
    size = human_size(told["size_bytes"])
    wiring.console.line(f"  ✓ {told['points']} point(s) written to {visible(told['path'])} ({size})")


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
