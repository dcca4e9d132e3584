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

__all__ = ["embedded", "embedding_options", "question_from", "ranking_options", "require_one_embedding"]

Command = TypeVar("Command", bound="Callable[..., Any]")

_EMBEDDING = (
    click.option("--vector", "using", metavar="NAME", help="Which vector, where a collection has several."),
    click.option(
        "--embed-command", metavar="CMD", help="Gets the words on standard input, prints their vector as JSON."
    ),
    click.option(
        "--embed-url", metavar="URL", help='Answers a POST of {"input": WORDS} with their vector, as OpenAI\'s does.'
    ),
    click.option("--embed-model", metavar="NAME", help="Goes along to --embed-url as `model`."),
)


def embedding_options(command: Command) -> Command:
    """Where words get their vector: `--vector`, `--embed-command`, `--embed-url`, `--embed-model`."""
    for option in reversed(_EMBEDDING):
        command = option(command)
    return command


def ranking_options(command: Command) -> Command:
    """How points are ranked: the options of `embedding_options`, and `--hybrid`."""
    hybrid = click.option("--hybrid", is_flag=True, help="Fuse the words' ranks with the vector's.")
    return embedding_options(hybrid(command))


def require_one_embedding(flags: dict[str, Any], *, has_words: bool) -> None:
    """Raises UsageError where both ways to embed were given, or one and no words."""
    command, url = flags["embed_command"], flags["embed_url"]
    if command and url:
        raise UsageError("--embed-command and --embed-url were both given", why="only one of them can make the vector")
    if (command or url) and not has_words:
        raise UsageError("there are no words to embed", why="--embed-command and --embed-url need them")


def embedded(words: str, flags: dict[str, Any]) -> list[float] | None:
    """The words' vector; None where the flags name nothing that makes one. Raises OperationFailed."""
    if flags["embed_command"]:
        return embedded_by_command(flags["embed_command"], words, environment=without_secrets())
    if flags["embed_url"]:
        return embedded_by_url(flags["embed_url"], words, model=flags["embed_model"])
    return None


def question_from(words: str | None, flags: dict[str, Any]) -> Question:
    """The question that the flags ask; the words are embedded here.

    Raises:
        UsageError: the flags contradict each other, or ask for nothing.
        OperationFailed: the words could not be embedded.
    """
    require_one_embedding(flags, has_words=bool(words))
    embeds, hybrid = flags["embed_command"] or flags["embed_url"], flags["hybrid"]
    like = point_id(flags["like"]) if flags.get("like") is not None else None
    if hybrid and not (words and (embeds or like is not None)):
        raise UsageError(
            "--hybrid has nothing to fuse", why="it needs words, and --embed-command, --embed-url or --like as well"
        )
    if like is not None and (embeds or (words and not hybrid)):
        raise UsageError("--like was given beside words", why="one ranking is shown; --hybrid fuses the two")
    condition = parse_filters(flags["filters"])
    if words is None and like is None and condition is None:
        raise UsageError("there is nothing to search for", why="give WORDS, --filter or --like", advice=_EXAMPLE)
    vector = embedded(words, flags) if words else None
    by_words = words if vector is None or hybrid else None
    return Question(by_words, vector, like, condition, flags["using"], flags["limit"])


_EXAMPLE = "Such as: qdrant-backup search latest 'how did we fix the auth race' --filter type=decision"
