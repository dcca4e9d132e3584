"""`drill`, and the golden queries that it asks: `drill record`, `drill list`, `drill forget`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside
from qdrant_backup.cli.looking import collection_option, filter_option
from qdrant_backup.cli.options import json_option, settings_options
from qdrant_backup.cli.questions import embedded, embedding_options, require_one_embedding
from qdrant_backup.cli.tables import table
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import UsageError

if TYPE_CHECKING:
    from qdrant_backup.cli.console import Console
    from qdrant_backup.operations.drill.record import Asked
    from qdrant_backup.operations.drill.report import Check, DrillReport
    from qdrant_backup.storage.golden import GoldenQuery

__all__ = ["drill"]

_DEFAULT = "run"
_MARKS = {"passed": "✓", "failed": "✗", "warned": "!", "skipped": "-"}


class DrillGroup(click.Group):
    """`drill [BACKUP]` drills; `drill record` and the others are commands of their own."""

    default = _DEFAULT

    def _own(self) -> click.Command:
        return self.commands[_DEFAULT]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Words that begin with no command's name are meant for the drill itself."""
        if not args or args[0] not in self.commands:
            args = ["--help"] if {"--help", "-h"} & set(args) else [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options of the drill itself, so that help shows them; they are never read here."""
        own = [one for one in self._own().params if isinstance(one, click.Option)]
        return [*own, *super().get_params(ctx)]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What may follow `drill`."""
        return self._own().collect_usage_pieces(ctx)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the drill itself does."""
        self._own().format_help_text(ctx, formatter)


drill = DrillGroup("drill", help="Prove that backups can be restored, and keep the golden queries that prove it.")


@drill.command(_DEFAULT, hidden=True)
@click.argument("backup", default="latest")
@collection_option
@click.option("--server", "drill_url", metavar="URL", help="Restore into scratch collections of this server.")
@click.option(
    "--into-api-key-file",
    metavar="FILE",
    help="File that holds that server's key (QDRANT_INTO_API_KEY; QDRANT_API_KEY where it is the usual server).",
)
@click.option("--ca-file", metavar="FILE", help="PEM file of the authorities to trust, for https.")
@click.option(
    "--allow-plain-http",
    is_flag=True,
    default=None,
    help="Send the key over plain http to another host (QDRANT_BACKUP_ALLOW_HTTP).",
)
@settings_options
@json_option
@click.pass_obj
def run(invocation: Any, backup: str, **flags: Any) -> None:
    """Prove that BACKUP (default: `latest`) can be restored.

    Every collection is opened in the embedded engine: bytes, counts, digest, configuration, payload indexes, shards and
    aliases must be what the manifest says, and golden queries must be answered as recorded. With `--server` each is
    restored into a `__drill_*` collection there, compared, and removed again; nothing else on that server is touched.

    Ends with 5 when a check fails, and with 7 when something could not be opened.
    """
    from qdrant_backup.operations.drill import run as drilling
    from qdrant_backup.operations.drill.report import report_json

    if flags["into_api_key_file"] and not flags["drill_url"]:
        raise UsageError("--into-api-key-file was given without --server", why="there is no server to send it to")
    wiring = Wiring(invocation, flags)
    console, as_json = wiring.console, flags["as_json"]
    chosen = wiring.directory.find(backup)
    into = _other_server(wiring, flags)
    lines = _Lines(console)
    if not as_json:
        where = f" on {visible(flags['drill_url'])}" if flags["drill_url"] else ""
        console.line(f"  Drill of {visible(chosen.backup_id)}{where}")
    with wiring.ports(lambda event: aside(console, event), into_url=into) as ports:
        report = drilling.drill(
            chosen,
            ports,
            collections=flags["collections"],
            on_server=bool(flags["drill_url"]),
            found=lambda check: None if as_json else lines.add(check),
        )
    if as_json:
        console.json(report_json(report))
    else:
        lines.flush()
        console.line(_last_line(report))
    report.raise_for_outcome()


def _other_server(wiring: Wiring, flags: dict[str, Any]) -> str | None:
    """The server to drill on; None where it is the usual one, whose own key may go there."""
    from qdrant_backup.qdrant.target import Target

    url = flags["drill_url"]
    if url is None:
        return None
    same = Target.parse(url).url == Target.parse(wiring.settings.url).url
    return None if same and not flags["into_api_key_file"] else url


class _Lines:
    """One line for each collection with what passed, as soon as it is done, and one below it for all that did not."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._checks: list[Check] = []

    def add(self, check: Check) -> None:
        """The next check; one of another collection ends the lines of the one before."""
        if self._checks and self._checks[0].collection != check.collection:
            self.flush()
        self._checks.append(check)

    def flush(self) -> None:
        """Print what was added."""
        checks, self._checks = self._checks, []
        if not checks:
            return
        outcomes = [check.outcome.value for check in checks]
        worst = next((one for one in ("failed", "warned", "passed") if one in outcomes), "skipped")
        counts = [check.detail for check in checks if (check.name, check.outcome.value) == ("counts", "passed")]
        names = dict.fromkeys(check.name for check in checks if check.outcome.value == "passed")
        about = f" ({counts[0]})" if counts else ""
        where = f"{visible(checks[0].collection)}{about}: " if checks[0].collection else ""
        self._console.line(f"    {_MARKS[worst]} {where}{', '.join(names) or 'nothing passed'}")
        for check in checks:
            if check.outcome.value != "passed":
                detail = f": {visible(check.detail)}" if check.detail else ""
                self._console.line(f"        {_MARKS[check.outcome.value]} {check.name}{detail}")


def _last_line(report: DrillReport) -> str:
    how = f"by a restore into {visible(report.server)}" if report.server else "in the embedded engine"
    if report.passed:
        what = "proven restorable" if report.whole else "the chosen collections are proven restorable"
        return f"  ✓ {visible(report.backup.backup_id)}: {what}, {how}"
    return f"  ✗ {visible(report.backup.backup_id)}: not proven restorable"


@drill.command()
@click.argument("questions", nargs=-1, metavar='"QUESTION"...')
@click.option("--backup", default="latest", show_default=True, metavar="BACKUP", help="The backup that answers.")
@collection_option
@filter_option
@click.option("--like", metavar="ID", help="Points like this one, by its vector.")
@embedding_options
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many answers are kept.")
@settings_options
@json_option
@click.pass_obj
def record(invocation: Any, questions: tuple[str, ...], **flags: Any) -> None:
    """Record golden queries for later drills to ask.

    They are questions with the answers that BACKUP gives, which later drills must get too.

    QUESTIONS are ranked by their words (BM25), or by their vector with `--embed-command` or `--embed-url`; the vector is kept,
    so that drills need no embedding. A question is kept for each collection that answers it.
    """
    from qdrant_backup.operations.drill.record import record as keep
    from qdrant_backup.operations.looking.opening import open_backups

    wiring = Wiring(invocation, flags)
    asked = _asked(questions, flags)
    chosen = wiring.directory.find(flags["backup"])
    names = list(flags["collections"]) or None
    with (
        wiring.ports(lambda event: aside(wiring.console, event)) as ports,
        open_backups(ports, [(chosen, names)]) as opened,
    ):
        found = keep(opened, asked, ports)
    _show(wiring.console, found, as_json=flags["as_json"])


def _asked(questions: tuple[str, ...], flags: dict[str, Any]) -> list[Asked]:
    from qdrant_backup.operations.drill.record import Asked
    from qdrant_backup.operations.looking.filters import parse_filters
    from qdrant_backup.operations.looking.search import point_id

    like = flags["like"]
    if bool(questions) == (like is not None):
        what = "there is no question" if like is None else "--like was given beside questions"
        raise UsageError(what, why="give questions or --like", advice=_EXAMPLE)
    require_one_embedding(flags, has_words=bool(questions))
    shared: dict[str, Any] = {
        "condition": parse_filters(flags["filters"]),
        "using": flags["using"],
        "limit": flags["limit"],
    }
    if like is not None:
        return [Asked(like=point_id(like), **shared)]
    return [Asked(words=words, vector=embedded(words, flags), **shared) for words in questions]


_EXAMPLE = 'Such as: qdrant-backup drill record "how did we fix the auth race" --collection discussions'


@drill.command("list")
@settings_options
@json_option
@click.pass_obj
def list_queries(invocation: Any, **flags: Any) -> None:
    """List the golden queries."""
    from qdrant_backup.operations.drill.record import recorded

    wiring = Wiring(invocation, flags)
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        found = recorded(ports).queries
    _show(wiring.console, found, as_json=flags["as_json"])


@drill.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@settings_options
@json_option
@click.pass_obj
def forget(invocation: Any, ids: tuple[str, ...], **flags: Any) -> None:
    """Delete golden queries by their ids."""
    from qdrant_backup.operations.drill.record import forget as delete

    wiring = Wiring(invocation, flags)
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        gone = delete(ports, ids)
    if flags["as_json"]:
        wiring.console.json({"queries": [_json(query) for query in gone]})
        return
    for query in gone:
        wiring.console.line(f"  ✓ {query.id} is forgotten: {visible(query.question)} in {visible(query.collection)}")


def _show(console: Console, queries: tuple[GoldenQuery, ...], *, as_json: bool) -> None:
    if as_json:
        console.json({"queries": [_json(query) for query in queries]})
        return
    if not queries:
        console.line('  No golden queries (qdrant-backup drill record "a question")')
        return
    rows = [
        [
            query.id,
            query.collection,
            query.question,
            "words" if query.vector is None else "vector",
            str(len(query.answers)),
            f"{query.recorded_at:%Y-%m-%d}",
        ]
        for query in queries
    ]
    for line in table(["ID", "COLLECTION", "QUESTION", "BY", "ANSWERS", "RECORDED"], rows, right=frozenset({4})):
        console.line(line)


def _json(query: GoldenQuery) -> dict[str, Any]:
    return {
        "id": query.id,
        "collection": query.collection,
        "backup": query.backup_id,
        "recorded_at": query.recorded_at.isoformat(),
        "words": query.words or None,
        "like": query.like,
        "by": "words" if query.vector is None else "vector",
        "using": query.using or None,
        "filter": query.filter,
        "limit": query.limit,
        "answers": [{"id": answer.id, "score": answer.score} for answer in query.answers],
    }
