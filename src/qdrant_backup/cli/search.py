"""`search`: finds points in a backup, by words, by meaning, by likeness, by a filter."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.choosing import as_of_option
from qdrant_backup.cli.console import visible
from qdrant_backup.cli.looking import collection_option, filter_option, looking_into, split_list
from qdrant_backup.cli.options import json_option, settings_options
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import UsageError
from qdrant_backup.operations.looking.embedding import embedded_by_command, embedded_by_url
from qdrant_backup.operations.looking.filters import parse_filters
from qdrant_backup.operations.looking.reading import values_at
from qdrant_backup.operations.looking.search import Question, point_id
from qdrant_backup.operations.looking.search import search as search_in
from qdrant_backup.operations.looking.words import texts_of, words_of

if TYPE_CHECKING:
    from qdrant_backup.cli.console import Console
    from qdrant_backup.operations.looking.search import Hit

__all__ = ["search"]

_BEFORE, _WIDTH = 60, 240
_LEAST_PREFIX = 4
_HEADLINE_FIELDS = ("type", "group_id", "project", "agent", "timestamp", "created_at")
_MILLISECONDS_FROM = 1e11


@click.command()
@click.argument("arguments", nargs=-1, metavar="[BACKUP] [WORDS]")
@as_of_option
@collection_option
@filter_option
@click.option("--like", metavar="ID", help="Points like this one, by its vector.")
@click.option("--vector", "using", metavar="NAME", help="Which vector, where a collection has several.")
@click.option("--embed-command", metavar="CMD", help="Gets the words on standard input, prints their vector as JSON.")
@click.option(
    "--embed-url", metavar="URL", help='Answers a POST of {"input": WORDS} with their vector, as OpenAI\'s does.'
)
@click.option("--embed-model", metavar="NAME", help="Goes along to --embed-url as `model`.")
@click.option("--hybrid", is_flag=True, help="Fuse the words' ranks with the vector's.")
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
    question = _question(words, flags)
    with looking_into(wiring, flags, backup) as (_, opened, ports):
        hits = search_in(opened, question, ports.progress)
    fields = split_list(flags["fields"])
    if flags["as_json"]:
        wiring.console.json({"hits": [_hit_json(hit, fields) for hit in hits]})
        return
    for number, hit in enumerate(hits, 1):
        _print(wiring.console, number, hit, words or "", fields)
    if not hits:
        wiring.console.line("  Nothing found")


def _meant(wiring: Wiring, arguments: tuple[str, ...], flags: dict[str, Any]) -> tuple[str | None, str | None]:
    """The backup and the words: what stands first of several is the backup, and what stands alone is whatever it can be."""
    if flags["as_of"] is not None:
        return None, " ".join(arguments) or None
    if len(arguments) == 1 and not wiring.directory.could_mean(arguments[0]):
        return None, arguments[0]
    return (arguments[0] if arguments else None), " ".join(arguments[1:]) or None


def _question(words: str | None, flags: dict[str, Any]) -> Question:
    command, url, hybrid = flags["embed_command"], flags["embed_url"], flags["hybrid"]
    if command and url:
        raise UsageError("--embed-command and --embed-url were both given", why="only one of them can make the vector")
    if (command or url) and not words:
        raise UsageError("there are no words to embed", why="--embed-command and --embed-url need them")
    like = point_id(flags["like"]) if flags["like"] is not None else None
    if hybrid and not (words and (command or url or like is not None)):
        raise UsageError(
            "--hybrid has nothing to fuse", why="it needs words, and --embed-command, --embed-url or --like as well"
        )
    if like is not None and (command or url or (words and not hybrid)):
        raise UsageError("--like was given beside words", why="one ranking is shown; --hybrid fuses the two")
    condition = parse_filters(flags["filters"])
    if words is None and like is None and condition is None:
        raise UsageError("there is nothing to search for", why="give WORDS, --filter or --like", advice=_EXAMPLE)
    vector = None
    if words and command:
        vector = embedded_by_command(command, words)
    elif words and url:
        vector = embedded_by_url(url, words, model=flags["embed_model"])
    by_words = words if vector is None or hybrid else None
    return Question(by_words, vector, like, condition, flags["using"], flags["limit"])


_EXAMPLE = "Such as: qdrant-backup search latest 'how did we fix the auth race' --filter type=decision"


def _hit_json(hit: Hit, fields: list[str]) -> dict[str, Any]:
    payload = {name: hit.payload[name] for name in fields if name in hit.payload} if fields else hit.payload
    return {"collection": hit.collection, "id": hit.id, "score": hit.score, "payload": payload}


def _print(console: Console, number: int, hit: Hit, words: str, fields: list[str]) -> None:
    score = "" if hit.score is None else f"  {hit.score:.4f}"
    about = "  ".join(_headline(name, hit.payload) for name in _HEADLINE_FIELDS if hit.payload.get(name) is not None)
    console.line(f"{number:>3}. {visible(hit.collection)}  {hit.id}{score}" + (f"  {about}" if about else ""))
    if fields:
        shown = [(name, values_at(hit.payload, name)) for name in fields]
        lines = [f"{name}: {', '.join(_text(value) for value in values)}" for name, values in shown if values]
    else:
        lines = [_passage(hit.payload, words)]
    for line in lines:
        if line:
            console.line("     " + _marked(visible(line), words, console))


def _headline(name: str, payload: dict[str, Any]) -> str:
    value = payload[name]
    if name in {"timestamp", "created_at"} and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _moment(float(value))
    return visible(_text(value))[:80]


def _moment(number: float) -> str:
    seconds = number / 1000 if number > _MILLISECONDS_FROM else number
    try:
        return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(number)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pattern(words: str) -> re.Pattern[str] | None:
    """The words, and longer ones that begin alike, as the index's stems let `fixed` answer `fixing`."""
    stems = [re.escape(word[: max(_LEAST_PREFIX, len(word) - 3)]) for word in words_of(words) if word]
    return re.compile(rf"\b(?:{'|'.join(stems)})\w*", re.IGNORECASE) if stems else None


def _passage(payload: dict[str, Any], words: str) -> str:
    """The part of the text in which most of the words stand; of the longest text, where none does."""
    texts = [" ".join(text.split()) for text in texts_of(payload)]
    if not texts:
        return ""
    pattern = _pattern(words)
    counts = [len(pattern.findall(text)) if pattern else 0 for text in texts]
    chosen = texts[max(range(len(texts)), key=lambda at: (counts[at], len(texts[at])))]
    found = pattern.search(chosen) if pattern else None
    begin = max(0, found.start() - _BEFORE) if found and len(chosen) > _WIDTH else 0
    cut = chosen[begin : begin + _WIDTH]
    return ("…" if begin else "") + cut + ("…" if begin + _WIDTH < len(chosen) else "")


def _marked(text: str, words: str, console: Console) -> str:
    pattern = _pattern(words)
    if pattern is None or not console.coloured:
        return text
    return pattern.sub(lambda found: click.style(found[0], bold=True, fg="yellow"), text)
