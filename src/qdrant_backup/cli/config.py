"""`config show`."""

from __future__ import annotations

from typing import Any

import click

from qdrant_backup.cli.options import json_option, server_options
from qdrant_backup.cli.tables import table
from qdrant_backup.cli.wiring import Wiring

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show the settings and where each comes from."""


@config.command("show")
@server_options
@json_option
@click.pass_obj
def show(invocation: Any, **flags: Any) -> None:
    """Print every setting, its value (secrets are masked), and what decided it."""
    wiring = Wiring(invocation, flags)
    found = list(wiring.settings.values.values())
    shown = {
        value.variable.key: str(wiring.directory.root) if value.variable.key == "backup_dir" else value.shown
        for value in found
    }
    if flags["as_json"]:
        wiring.console.json(
            {
                value.variable.key: {
                    "value": None
                    if value.value is None and shown[value.variable.key] == "(none)"
                    else shown[value.variable.key],
                    "source": value.source,
                    "variable": value.variable.name,
                }
                for value in found
            }
        )
        return
    rows = [[value.variable.name, shown[value.variable.key], value.source] for value in found]
    for line in table(["VARIABLE", "VALUE", "FROM"], rows):
        wiring.console.line(line)
