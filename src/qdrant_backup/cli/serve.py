"""`serve`: backups on Qdrant's REST API, for reading only, in the foreground."""

from __future__ import annotations

import secrets
from typing import Any

import click

from qdrant_backup.cli.choosing import as_of_option, chosen_backup
from qdrant_backup.cli.console import visible
from qdrant_backup.cli.lines import aside
from qdrant_backup.cli.options import settings_options
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import Interrupted, UsageError
from qdrant_backup.operations.looking.opening import Address, open_backups
from qdrant_backup.secret import Secret

__all__ = ["serve"]


@click.command()
@click.argument("backups", nargs=-1)
@as_of_option
@click.option("--collection", "collections", multiple=True, metavar="NAME", help="Only this collection; repeatable.")
@click.option(
    "--port", "serve_port", type=click.IntRange(0, 65535), default=26351, show_default=True, help="0 takes a free one."
)
@click.option("--api-key-file", "serve_key_file", metavar="FILE", help="File that holds the key that readers need.")
@click.option("--no-api-key", is_flag=True, help="Everybody on this machine may read.")
@settings_options
@click.pass_obj
def serve(invocation: Any, backups: tuple[str, ...], **flags: Any) -> None:
    """Serve BACKUPS (default: `latest`) on Qdrant's REST API on this machine, for reading only, until Ctrl-C.

    Any Qdrant client can look inside. Of several backups the collections are called NAME@BACKUP. The key that readers
    need is that of QDRANT_BACKUP_SERVE_API_KEY or `--api-key-file`, else a new one that is shown once.
    """
    wiring = Wiring(invocation, flags)
    console = wiring.console
    key, is_new = _key(wiring, flags)
    named = backups or (None,)
    chosen = list(
        {
            found.path: found for found in (chosen_backup(wiring.directory, one, flags["as_of"]) for one in named)
        }.values()
    )
    names = list(flags["collections"]) or None
    try:
        with (
            wiring.ports(lambda event: aside(console, event)) as ports,
            open_backups(ports, [(one, names) for one in chosen], Address(key, port=flags["serve_port"])) as opened,
        ):
            console.line(f"  Backup: {', '.join(visible(one.backup_id) for one in chosen)}")
            for collection in opened.collections:
                console.line(f"    {visible(collection.name)} ({collection.entry.records} records)")
            if is_new and key is not None:
                console.line(f"  API key: {key.reveal()}")
            console.line(f"  Serving at http://127.0.0.1:{opened.port}, for reading only. Ctrl-C ends it.")
            opened.wait()
    except Interrupted:
        console.error_line("  Ended.")


def _key(wiring: Wiring, flags: dict[str, Any]) -> tuple[Secret | None, bool]:
    """The key, and whether it was made just now."""
    if flags["no_api_key"]:
        if flags["serve_key_file"]:
            raise UsageError("--no-api-key and --api-key-file were both given", why="only one of them can be meant")
        return None, False
    given: Secret | None = wiring.settings.get("serve_api_key")
    return (given, False) if given else (Secret(secrets.token_urlsafe(24)), True)
