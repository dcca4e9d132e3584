"""`python -m qdrant_backup.engine.rest`: the embedded server as a process of its own, for tests."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from qdrant_backup.engine.rest.app import VERSION
from qdrant_backup.engine.rest.serve import run

__all__ = ["main"]

DIED = 137
"""The exit code of the fault `die`, which is that of SIGKILL in a shell."""


def _secret(path: Path | None) -> str | None:
    return None if path is None else path.read_text(encoding="utf-8").strip()


def _die() -> None:
    os._exit(DIED)  # noqa: TID251 - the fault `die` is a process that ends without a word


def main(arguments: list[str] | None = None) -> None:
    """Serve what the command line says."""
    parser = argparse.ArgumentParser(prog="qdrant_backup.engine.rest")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--api-key-file", type=Path)
    parser.add_argument("--read-only-api-key-file", type=Path)
    parser.add_argument("--version", default=VERSION)
    parser.add_argument("--faults", type=Path)
    given = parser.parse_args(arguments)
    run(
        given.data,
        given.host,
        given.port,
        api_key=_secret(given.api_key_file),
        read_only_api_key=_secret(given.read_only_api_key_file),
        version=given.version,
        port_file=given.port_file,
        faults=None if given.faults is None else given.faults.read_bytes(),
        die=_die,
    )


if __name__ == "__main__":
    main()
