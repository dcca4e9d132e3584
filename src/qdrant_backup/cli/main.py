"""`qdrant-backup`: the commands, and the one function that turns how they end into an exit code.

Commands are loaded when they are called: `--version` and `--help` must not pay for the HTTP layer or the engine.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from qdrant_backup import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "backup": ("qdrant_backup.cli.backup:backup", "Back up collections, aliases and config files."),
    "restore": ("qdrant_backup.cli.restore:restore", "Restore a backup, or put everything back as it was."),
    "undo": ("qdrant_backup.cli.restore:undo", "Take the last restore back."),
    "resume": ("qdrant_backup.cli.restore:resume", "Finish a restore that was killed."),
    "list": ("qdrant_backup.cli.inspect:list_backups", "List the backups, newest first."),
    "show": ("qdrant_backup.cli.inspect:show", "Show what one backup holds."),
    "verify": ("qdrant_backup.cli.inspect:verify", "Prove that backups are what they should be."),
    "drill": ("qdrant_backup.cli.drill:drill", "Prove that a backup can be restored, and answers as recorded."),
    "search": ("qdrant_backup.cli.search:search", "Find points in a backup, without restoring it."),
    "points": ("qdrant_backup.cli.points:points", "Print the points of a backup as JSON lines."),
    "facet": ("qdrant_backup.cli.points:facet", "Count the values of a payload field in a backup."),
    "serve": ("qdrant_backup.cli.serve:serve", "Serve backups on Qdrant's REST API, for reading only."),
    "diff": ("qdrant_backup.cli.diff:diff", "Show what separates two backups, or a backup and the server."),
    "history": ("qdrant_backup.cli.history:history", "Show what all backups tell of one point."),
    "recover": ("qdrant_backup.cli.recover:recover", "Bring single points back from a backup."),
    "status": ("qdrant_backup.cli.health:status", "Show the server, its collections and the last backup."),
    "check": ("qdrant_backup.cli.health:check", "Look for what could keep backups or restores from working."),
    "prune": ("qdrant_backup.cli.prune:prune", "Delete old backups, never the last good one."),
    "anomaly": ("qdrant_backup.cli.anomaly:anomaly", "Show and accept backups that look like a loss."),
    "config": ("qdrant_backup.cli.config:config", "Show the settings and where each comes from."),
    "dev-server": ("qdrant_backup.cli.dev_server:dev_server", "Run the embedded server, for trying things out."),
    "demo": ("qdrant_backup.cli.demo:demo", "Back up, lose and restore a small AI Memory on this machine."),
    "completion": ("qdrant_backup.cli.completion:completion", "Print the shell completion for bash, zsh or fish."),
    "version": ("qdrant_backup.cli.version:version", "Print the versions of this tool and of what it is built on."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called; its table holds the help texts."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """The commands in the order of a user's day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(module), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="qdrant-backup")
def cli() -> None:
    """Backup, restore and time-travel for Qdrant.

    A backup that is listed can be restored. A restore that fails puts everything back as it was.
    """


def main(arguments: Sequence[str] | None = None, *, repository: str | None = None) -> NoReturn:
    """Run the command line and exit with its code.

    Args:
        arguments: without the program's name; the process's own when left out.
        repository: the directory whose `backups/` is the default backup directory; the current one when left out.
    """
    from qdrant_backup.cli.exits import ignore_signals, run

    # What is written asks for private modes itself; this is for the directories above it, and for what programs that we
    # start write.
    os.umask(0o077)
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = run(cli, words, Path(repository) if repository else Path.cwd())
    ignore_signals()
    sys.exit(code)
