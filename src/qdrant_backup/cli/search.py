"""`search`: finds points in a backup, by words, by meaning, by likeness, by a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.choosing import as_of_option
from qdrant_backup.cli.hits import print_hit
from qdrant_backup.cli.looking import collection_option, filter_option, looking_into, split_list
from qdrant_backup.cli.options import json_option, settings_options
from qdrant_backup.cli.questions import question_from, ranking_options
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.operations.looking.search import search as search_in

if TYPE_CHECKING:
    from qdrant_backup.operations.looking.search import Hit

__all__ = ["search"]


@click.command()
@click.argument("arguments", nargs=-1, metavar="[BACKUP] [WORDS]")
@as_of_option
@collection_option
@filter_option
@click.option("--like", metavar="ID", help="Points like this one, by its vector.")
@ranking_options
@click.option("--limit", type=click.IntRange(1, 10000), default=10, show_default=True, help="How many hits.")
@click.option("--fields", metavar="A,B", help="Show these payload fields alone.")
@settings_options
@json_option
@click.pass_obj
def search(invocation: Any, arguments: tuple[str, ...], **flags: Any) -> None:
    """Find points in BACKUP (default: `latest`) by WORDS, without restoring it.

    WORDS are ranked over all text in the payloads (BM25), which needs no model. With `--embed-command` or `--embed-url`
    their vector is compared instead, exactly; `--hybrid` does both.
    """
    wiring = Wiring(invocation, flags)
    backup, words = _meant(wiring, arguments, flags)
    question = question_from(words, flags)
    with looking_into(wiring, flags, backup) as (_, opened, ports):
        hits = search_in(opened, question, ports.progress)
    fields = split_list(flags["fields"])
    if flags["as_json"]:
        wiring.console.json({"hits": [_hit_json(hit, fields) for hit in hits]})
        return
    for number, hit in enumerate(hits, 1):
        print_hit(wiring.console, number, hit, words or "", fields)
    if not hits:
        wiring.console.line("  Nothing found")


def _meant(wiring: Wiring, arguments: tuple[str, ...], flags: dict[str, Any]) -> tuple[str | None, str | None]:
    """The backup and the words: what stands first of several is the backup, and what stands alone is whatever it can be."""
    if flags["as_of"] is not None:
        return None, " ".join(arguments) or None
    if len(arguments) == 1 and not wiring.directory.could_mean(arguments[0]):
        return None, arguments[0]
    return (arguments[0] if arguments else None), " ".join(arguments[1:]) or None


def _hit_json(hit: Hit, fields: list[str]) -> dict[str, Any]:
    payload = {name: hit.payload[name] for name in fields if name in hit.payload} if fields else hit.payload
    return {"collection": hit.collection, "id": hit.id, "score": hit.score, "payload": payload}
