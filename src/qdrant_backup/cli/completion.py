"""`completion`."""

from __future__ import annotations

import sys

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from qdrant_backup.cli.console import Console

__all__ = ["completion"]

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion for SHELL. For bash: `source <(qdrant-backup completion bash)`."""
    script = _SHELLS[shell](ctx.find_root().command, {}, "qdrant-backup", "_QDRANT_BACKUP_COMPLETE")
    # Not `script.source()`, which for bash starts one to ask for its version, and that would inherit the keys.
    Console(sys.stdout, sys.stderr).line(ShellComplete.source(script))
