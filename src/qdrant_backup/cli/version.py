"""`version`."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

import click

from qdrant_backup import __version__
from qdrant_backup.cli.console import Console
from qdrant_backup.cli.options import json_option
from qdrant_backup.digest import MAGIC
from qdrant_backup.manifest import FORMAT

__all__ = ["version"]


@click.command()
@json_option
def version(*, as_json: bool) -> None:
    """Print the versions of this tool and of what it is built on."""
    found = {
        "qdrant-backup": __version__,
        "backup format": str(FORMAT),
        "digest format": MAGIC.decode(),
        "qdrant-edge-py": metadata.version("qdrant-edge-py"),
        "python": platform.python_version(),
        # Not `platform.platform()`, which starts a program that would inherit the keys.
        "platform": f"{platform.system()}-{platform.release()}-{platform.machine()}",
    }
    console = Console(sys.stdout, sys.stderr)
    if as_json:
        console.json(found)
        return
    for name, text in found.items():
        console.line(f"{name:15} {text}")
