"""Options that several commands share. A flag that stands for a setting is handed on under the setting's variable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "directory_option",
    "flag_texts",
    "into_options",
    "json_option",
    "server_options",
    "settings_options",
    "yes_option",
]

Command = TypeVar("Command", bound="Callable[..., Any]")

_FLAGS: dict[str, str] = {
    "output": "AI_MEMORY_BACKUP_DIR",
    "host": "QDRANT_HOST",
    "port": "QDRANT_PORT",
    "url": "QDRANT_URL",
    "api_key_file": "QDRANT_API_KEY_FILE",
    "ca_file": "QDRANT_BACKUP_CA_FILE",
    "allow_plain_http": "QDRANT_BACKUP_ALLOW_HTTP",
    "install_dir": "AI_MEMORY_INSTALL_DIR",
    "into_api_key_file": "QDRANT_INTO_API_KEY_FILE",
    "serve_key_file": "QDRANT_BACKUP_SERVE_API_KEY_FILE",
}


def flag_texts(flags: dict[str, Any]) -> dict[str, str]:
    """The settings that flags decide, by environment variable."""
    return {_FLAGS[name]: str(value) for name, value in flags.items() if name in _FLAGS and value is not None}


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, and errors as JSON on standard error.")(
        command
    )


def yes_option(command: Command) -> Command:
    """`--yes`."""
    return click.option("--yes", is_flag=True, help="Do it, without asking.")(command)


def directory_option(command: Command) -> Command:
    """`--output`, which every command has."""
    return click.option(
        "--output", metavar="DIR", help="The backup directory (AI_MEMORY_BACKUP_DIR; default: backups/ here)."
    )(command)


def settings_options(command: Command) -> Command:
    """`--output`, `--config` and `--install-dir`."""
    for option in (
        click.option("--install-dir", metavar="DIR", help="The AI Memory installation (AI_MEMORY_INSTALL_DIR)."),
        click.option(
            "--config", "config_file", metavar="FILE", help="Settings file (default: qdrant-backup.toml here)."
        ),
        directory_option,
    ):
        command = option(command)
    return command


def server_options(command: Command) -> Command:
    """How to reach the server, and `settings_options`."""
    for option in (
        click.option(
            "--allow-plain-http",
            is_flag=True,
            default=None,
            help="Send the key over plain http to another host (QDRANT_BACKUP_ALLOW_HTTP).",
        ),
        click.option("--ca-file", metavar="FILE", help="PEM file of the authorities to trust, for https."),
        click.option("--api-key-file", metavar="FILE", help="File that holds the API key (QDRANT_API_KEY_FILE)."),
        click.option("--url", metavar="URL", help="http(s)://HOST[:PORT][/PREFIX], instead of host and port."),
        click.option("--port", metavar="PORT", help="Qdrant's REST port (QDRANT_PORT)."),
        click.option("--host", metavar="HOST", help="Qdrant's host (QDRANT_HOST)."),
        settings_options,
    ):
        command = option(command)
    return command


def into_options(command: Command) -> Command:
    """`--into-url` and its key: another server than the one whose collections are backed up."""
    key = click.option("--into-api-key-file", metavar="FILE", help="File that holds the other server's key.")
    url = click.option("--into-url", metavar="URL", help="Another server; its key is QDRANT_INTO_API_KEY.")
    return url(key(command))
