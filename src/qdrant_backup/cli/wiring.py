"""Reads the environment and the settings files, and connects the rooms for a command."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdrant_backup.cli.console import Console
from qdrant_backup.cli.options import flag_texts
from qdrant_backup.errors import UsageError
from qdrant_backup.settings import VARIABLES, Layer, from_toml, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from qdrant_backup.cli.exits import Invocation
    from qdrant_backup.operations.events import Event
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.qdrant.server import Server
    from qdrant_backup.settings import Settings
    from qdrant_backup.storage.directory import BackupDirectory

__all__ = ["Wiring", "read_secret", "without_secrets"]

SETTINGS_FILE = "qdrant-backup.toml"
SCRATCH = ".scratch"
_INTO_KEY_ADVICE = (
    "Set QDRANT_INTO_API_KEY, or give --into-api-key-file: QDRANT_API_KEY goes to the settings' server alone."
)
_LARGEST_SECRET_BYTES = 64 * 1024


class Wiring:
    """What one command needs, made when it is asked for.

    Args:
        invocation: the call of the program.
        flags: the command's options by name; those that stand for settings are found among them.
    """

    def __init__(self, invocation: Invocation, flags: dict[str, Any]) -> None:
        self.invocation = invocation
        self.console = Console(sys.stdout, sys.stderr)
        self._flags = flags
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """All settings.

        Raises:
            UsageError: one of them makes no sense, or a settings file cannot be read.
        """
        if self._settings is None:
            self._settings = resolve(self._layers(), read_secret)
        return self._settings

    def _layers(self) -> list[Layer]:
        layers = [Layer("flag", flag_texts(self._flags)), Layer("environment", os.environ), *self._settings_file()]
        # The installation's own .env is found through the settings above it.
        installed = Path(resolve(layers, _unread).get("install_dir")).expanduser()
        return [*layers, *_installation_layers(installed)]

    def _settings_file(self) -> list[Layer]:
        named = self._flags.get("config_file")
        path = Path(named) if named else self.invocation.repository / SETTINGS_FILE
        if not named and not path.exists():
            return []
        # Imported where there is such a file: with what it brings along it costs `list` a tenth of its time.
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        try:
            return [from_toml(tomllib.loads(path.read_text("utf-8")), str(path))]
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"the settings file {path} cannot be read", why=str(error)) from None

    @property
    def directory(self) -> BackupDirectory:
        """The backup directory."""
        from qdrant_backup.storage.directory import BackupDirectory

        configured = self.settings.get("backup_dir")
        root = Path(configured).expanduser() if configured else self.invocation.repository / "backups"
        return BackupDirectory(root)

    @property
    def install_dir(self) -> Path:
        """The AI Memory installation's directory."""
        return Path(self.settings.get("install_dir")).expanduser()

    @property
    def cache_dir(self) -> Path:
        """Where backups are opened."""
        configured = self.settings.get("cache_dir")
        if configured:
            return Path(configured).expanduser()
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "qdrant-backup"

    def server(self, into_url: str | None = None) -> Server:
        """The settings' server, or another one with the key that is meant for it; not yet contacted."""
        from qdrant_backup.clock import SystemClock
        from qdrant_backup.qdrant.http import Http
        from qdrant_backup.qdrant.server import Server
        from qdrant_backup.qdrant.target import Target

        settings = self.settings
        key = settings.into_api_key if into_url else settings.api_key
        target = dataclasses.replace(
            Target.parse(into_url or settings.url, api_key=key, ca_file=settings.get("ca_file")),
            key_advice=_INTO_KEY_ADVICE if into_url else None,
            silence_s=settings.get("silence_timeout"),
            allow_plain_http=settings.get("allow_http"),
        )
        return Server(Http(target, clock=SystemClock()))

    @contextlib.contextmanager
    def ports(
        self, tell: Callable[[Event], None], *, into_url: str | None = None, makes_directory: bool = False
    ) -> Generator[Ports]:
        """Everything an operation acts through.

        Args:
            tell: takes the events.
            into_url: another server than the settings name; it gets `QDRANT_INTO_API_KEY` and never `QDRANT_API_KEY`.
            makes_directory: the backup directory is made before anything is unpacked.
        """
        import secrets

        from qdrant_backup.cli.progress import progress_on
        from qdrant_backup.clock import SystemClock
        from qdrant_backup.engine.engine import Engine
        from qdrant_backup.engine.opened import Openings
        from qdrant_backup.installation.installation import Installation
        from qdrant_backup.operations.ports import Ports

        settings, directory = self.settings, self.directory
        progress = progress_on(self.console)
        try:
            yield Ports(
                server=self.server(into_url),
                engine=Engine(
                    scratch=_scratch(directory.root, makes_directory), silence_s=settings.get("silence_timeout")
                ),
                openings=Openings(
                    self.cache_dir, most_bytes=settings.get("cache_bytes"), silence_s=settings.get("silence_timeout")
                ),
                directory=directory,
                installation=Installation(self.install_dir),
                clock=SystemClock(),
                progress=progress,
                tell=tell,
                token=lambda: secrets.token_hex(8),
                server_wait_s=settings.get("server_wait"),
                safety_days=settings.get("safety_days"),
            )
        finally:
            progress.end()
            with contextlib.suppress(OSError):
                (directory.root / SCRATCH).rmdir()


def _scratch(root: Path, will_be: bool) -> Path:
    """Where archives are unpacked: beside the backups, on the disk whose room is checked; never so as to create it."""
    if will_be or root.is_dir():
        return root / SCRATCH
    import tempfile

    return Path(tempfile.gettempdir())


def _installation_layers(directory: Path) -> list[Layer]:
    from qdrant_backup.installation.env_file import parse_env

    layers: list[Layer] = []
    for name in (".env", "docker/.env"):
        path = directory / name
        # One that cannot be read is no settings file for this user; `check` says so, and `backup` fails on it by name.
        with contextlib.suppress(OSError, UnicodeDecodeError):
            known = {key: text for key, text in parse_env(path.read_text("utf-8")).items() if key.startswith("QDRANT_")}
            layers.append(Layer(str(path), known))
    return layers


def _unread(path: str) -> str:
    """No secret is needed to find the installation."""
    return f"unread:{path}"


def read_secret(path: str) -> str:
    """The text in a key file, without white space around it; raises UsageError when it cannot be read."""
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(_LARGEST_SECRET_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key file {path} cannot be read", why=str(error)) from None


def without_secrets() -> dict[str, str]:
    """The environment for a program of the user's: all of it but our keys, which are not that program's business."""
    secret = {variable.name for variable in VARIABLES if variable.secret}
    return {name: text for name, text in os.environ.items() if name not in secret}
