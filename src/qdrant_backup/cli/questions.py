"""What the commands that rank points share: how a question is asked, by words or by their vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from qdrant_backup.cli.wiring import without_secrets
from qdrant_backup.errors import UsageError
from qdrant_backup.operations.looking.embedding import embedded_by_command, embedded_by_url
from qdrant_backup.operations.looking.filters import parse_filters
from qdrant_backup.operations.looking.search import Question, point_id

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["question_from", "ranking_options"]

Command = TypeVar("Command", bound="Callable[..., Any]")

_RANKING = (
    click.option("--vector", "using", metavar="NAME", help="Which vector, where a collection has several."),
    click.option(
        "--embed-command", metavar="CMD", help="Gets the words on standard input, prints their vector as JSON."
    ),
    click.option(
        "--embed-url", metavar="URL", help='Answers a POST of {"input": WORDS} with their vector, as OpenAI\'s does.'
    ),
    click.option("--embed-model", metavar="NAME", help="Goes along to --embed-url as `model`."),
    click.option("--hybrid", is_flag=True, help="Fuse the words' ranks with the vector's."),
)


def ranking_options(command: Command) -> Command:
    """How points are ranked: `--vector`, `--embed-command`, `--embed-url`, `--embed-model`, `--hybrid`."""
    for option in reversed(_RANKING):
        command = option(command)
    return command


def question_from(words: str | None, flags: dict[str, Any]) -> Question:
    """The question that the flags ask; the words are embedded here.

    Raises:
        UsageError: the flags contradict each other, or ask for nothing.
        OperationFailed: the words could not be embedded.
    """
    command, url, hybrid = flags["embed_command"], flags["embed_url"], flags["hybrid"]
    if command and url:
        raise UsageError("--embed-command and --embed-url were both given", why="only one of them can make the vector")
    if (command or url) and not words:
        raise UsageError("there are no words to embed", why="--embed-command and --embed-url need them")
    like = point_id(flags["like"]) if flags.get("like") is not None else None
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
        vector = embedded_by_command(command, words, environment=without_secrets())
    elif words and url:
        vector = embedded_by_url(url, words, model=flags["embed_model"])
    by_words = words if vector is None or hybrid else None
    return Question(by_words, vector, like, condition, flags["using"], flags["limit"])


_EXAMPLE = "Such as: qdrant-backup search latest 'how did we fix the auth race' --filter type=decision"
