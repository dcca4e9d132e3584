"""An AI Memory installation, as far as a backup of it goes: config files, version, logs; and putting config back.

The guide names two config files, and installations keep each in one of two places. The first place where one is found
gets the guide's name in the backup; a file in the second place as well keeps its sub-path:

    .env, docker/.env                           config/.env, config/docker/.env
    settings.json, .claude/settings.json        config/settings.json, config/.claude/settings.json
"""

from __future__ import annotations

import dataclasses
import os
import stat
from typing import TYPE_CHECKING

from qdrant_backup.errors import ConfigFailed, IntegrityFailed, OperationFailed
from qdrant_backup.installation.env_file import parse_env
from qdrant_backup.installation.tree import Tree, failure
from qdrant_backup.layout import CONFIG_DIRECTORY, LOGS_DIRECTORY, safe_relative_path
from qdrant_backup.manifest import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PLACES", "ConfigFile", "ConfigFiles", "Installation", "LogFile", "LogFiles", "env_file_values"]

PLACES = {"settings.json": ("settings.json", ".claude/settings.json"), ".env": (".env", "docker/.env")}
"""The guide's config files, and where an installation keeps each, in the order they are looked for."""

VERSION_FILE = "version.txt"
UNKNOWN_VERSION = "unknown"
_LARGEST_CONFIG_BYTES = 16 << 20
_LONGEST_VERSION = 100
_READ_SIZE = 1 << 20


@dataclasses.dataclass(frozen=True)
class ConfigFile:
    """A config file's content.

    Attributes:
        name: its name below `config/` in a backup, as the manifest's `config_files` lists it.
        original: where it lies below the installation directory, with slashes.
        data: its bytes.
        mode: its permission bits.
    """

    name: str
    original: str
    data: bytes
    mode: int

    @property
    def path(self) -> str:
        """Its path below the backup."""
        return f"{CONFIG_DIRECTORY}/{self.name}"


@dataclasses.dataclass(frozen=True)
class ConfigFiles:
    """What was found, and what is there and could not be read: by its name, and why."""

    found: tuple[ConfigFile, ...]
    failed: tuple[tuple[str, ConfigFailed], ...]


@dataclasses.dataclass(frozen=True)
class LogFile:
    """A log file when it was looked at; it may have grown, been cut, or vanished since.

    Attributes:
        path: its path below the backup, such as `logs/app/today.log`.
        original: its absolute path.
        size_bytes: what it had then, and the most that `blocks` gives.
    """

    path: str
    original: Path
    size_bytes: int
    tree: Tree = dataclasses.field(repr=False)

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, up to the size it had when it was looked at: a log that grows all the time still ends.

        Raises:
            OperationFailed: it vanished (logs rotate), became a link, or cannot be read. That is a reason to note it as
                skipped, and none to fail the backup.
        """
        left = self.size_bytes
        try:
            with self.tree.folder_of(self.path) as (folder, name), os.fdopen(folder.open(name), "rb", 0) as file:
                while left and (block := file.read(min(left, _READ_SIZE))):
                    left -= len(block)
                    yield block
        except OSError as error:
            vanished = isinstance(error, FileNotFoundError)
            why = "it vanished while logs were copied; logs rotate" if vanished else error.strerror or str(error)
            raise OperationFailed(f"The log file {self.original} was skipped", why=why) from error


@dataclasses.dataclass(frozen=True)
class LogFiles:
    """The log files, by path, and what lies among them and is not copied."""

    found: tuple[LogFile, ...]
    skipped: tuple[Skipped, ...]

    @property
    def size_bytes(self) -> int:
        """Their size together."""
        return sum(file.size_bytes for file in self.found)


class Installation:
    """The installation in a directory, which need not exist: then there is simply nothing in it.

    Args:
        directory: `AI_MEMORY_INSTALL_DIR`; may itself be a link.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.tree = Tree(self.directory)

    def version(self) -> str:
        """The first line of `version.txt`; `unknown` when there is none, or none that could be a version."""
        try:
            read = self.tree.read(VERSION_FILE, _LARGEST_CONFIG_BYTES)
        except ConfigFailed:
            return UNKNOWN_VERSION
        text = read[0].decode("utf-8-sig", "replace").strip() if read else ""
        line = text.split("\n", 1)[0].strip()
        return line if line and len(line) <= _LONGEST_VERSION and line.isprintable() else UNKNOWN_VERSION

    def config(self) -> ConfigFiles:
        """The config files from both places the guide names; never raises for a file that cannot be read."""
        found: list[ConfigFile] = []
        failed: list[tuple[str, ConfigFailed]] = []
        for guide_name, places in PLACES.items():
            taken = False
            for place in places:
                name = place if taken else guide_name
                try:
                    read = None if self._leads_to(place, places) else self.tree.read(place, _LARGEST_CONFIG_BYTES)
                except ConfigFailed as error:
                    failed.append((name, error))
                    taken = True
                    continue
                if read is not None:
                    found.append(ConfigFile(name, place, *read))
                    taken = True
        return ConfigFiles(tuple(found), tuple(failed))

    def _leads_to(self, place: str, places: tuple[str, ...]) -> bool:
        """Whether a file is a link to another of its places, which is then the one that is backed up."""
        path = self.directory / place
        try:
            if not path.is_symlink():
                return False
            target = path.resolve()
            return any(target == (self.directory / other).resolve() for other in places if other != place)
        except (OSError, RuntimeError):  # A loop of links; reading it says so.
            return False

    def logs(self) -> LogFiles:
        """The regular files below `logs/`, at any depth; links and other things are named as skipped, never followed."""
        found: list[LogFile] = []
        skipped: list[Skipped] = []
        root = self.directory / LOGS_DIRECTORY
        if root.is_symlink():
            return LogFiles((), (Skipped(what=str(root), reason="a symbolic link; links are not followed"),))

        def unreadable(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                skipped.append(Skipped(what=str(error.filename), reason=error.strerror or str(error)))

        for directory, folders, files in os.walk(root, onerror=unreadable):
            here = root.__class__(directory)
            folders.sort()
            for name in sorted([*files, *(folder for folder in folders if (here / folder).is_symlink())]):
                log = self._log(here / name)
                if isinstance(log, LogFile):
                    found.append(log)
                elif log is not None:
                    skipped.append(log)
        return LogFiles(tuple(found), tuple(skipped))

    def _log(self, path: Path) -> LogFile | Skipped | None:
        try:
            status = path.lstat()
            relative = safe_relative_path(path.relative_to(self.directory).as_posix())
        except FileNotFoundError:
            return None
        except OSError as error:
            return Skipped(what=str(path), reason=error.strerror or str(error))
        except IntegrityFailed:
            return Skipped(what=ascii(str(path)), reason="its name cannot be stored in a backup")
        if stat.S_ISREG(status.st_mode):
            return LogFile(relative, path, status.st_size, self.tree)
        is_link = stat.S_ISLNK(status.st_mode)
        return Skipped(
            what=str(path), reason="a symbolic link; links are not followed" if is_link else "not a regular file"
        )

    def env_files(self) -> list[tuple[Path, dict[str, str]]]:
        """The values of the installation's `.env` files that exist, the one that counts first.

        Raises:
            ConfigFailed: one cannot be read.
        """
        paths = [self.directory / place for place in PLACES[".env"]]
        return [(path, env_file_values(path)) for path in paths if path.is_file()]


def env_file_values(path: Path) -> dict[str, str]:
    """The values in a `.env` file; none when it does not exist. A link is followed, since nothing is copied or sent.

    Raises:
        ConfigFailed: it cannot be read, or is not text.
    """
    try:
        return parse_env(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise failure(error, path, "read") from error
    except UnicodeDecodeError as error:
        raise ConfigFailed(f"{path} cannot be read", why="it is not UTF-8 text", advice="Save it as UTF-8.") from error
