"""`dev-server`: the embedded server, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qdrant_backup.cli.wiring import Wiring, read_secret
from qdrant_backup.errors import NotWritable, UsageError

__all__ = ["dev_server"]


@click.command("dev-server")
@click.option("--data", default="qdrant-dev-data", show_default=True, metavar="DIR", help="Where its state is kept.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=26350, show_default=True, help="0 takes a free one.")
@click.option("--api-key-file", metavar="FILE", help="File that holds the key for everything (default: no key).")
@click.option("--read-only-api-key-file", metavar="FILE", help="File that holds the key for reading.")
@click.option("--faults", metavar="FILE", help="Scripted faults, for tests (docs/testing.md).")
@click.option("--port-file", metavar="FILE", help="Gets the port, as text, once connections are accepted.")
@click.pass_obj
def dev_server(invocation: Any, host: str, port: int, **flags: Any) -> None:
    """Run the embedded server: enough of Qdrant's REST API for `qdrant-client`, for trying things out and for tests.

    It is no replacement for a Qdrant server. Ctrl-C ends it; its state stays in `--data`.
    """
    import msgspec

    from qdrant_backup.engine.rest.serve import run

    console = Wiring(invocation, {}).console
    data, port_file = Path(flags["data"]), flags["port_file"]
    try:
        run(
            data,
            host,
            port,
            api_key=_key(flags["api_key_file"]),
            read_only_api_key=_key(flags["read_only_api_key_file"]),
            port_file=Path(port_file) if port_file else None,
            faults=Path(flags["faults"]).read_bytes() if flags["faults"] else None,
            announce=lambda bound: console.line(
                f"Embedded Qdrant at http://{host}:{bound}, data in {data}. Ctrl-C ends it."
            ),
        )
    except OSError as error:
        raise NotWritable(
            f"the embedded server cannot run on {host}:{port} with {data}",
            why=str(error),
            advice="Choose another --port or --data.",
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{flags['faults']} is no script of faults", why=str(error)) from None


def _key(path: str | None) -> str | None:
    return read_secret(path) if path else None
