"""Putting config files back into an installation: what would change, and the change itself, which keeps the old file.

What comes from a backup is not trusted: it can only go to the places where an installation keeps its config files, with
no link followed on the way, and with no more permissions than a config file needs.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import stat
from typing import TYPE_CHECKING

from qdrant_backup.errors import ConfigFailed
from qdrant_backup.installation.installation import PLACES, ConfigFile, Installation
from qdrant_backup.installation.masking import masked_difference
from qdrant_backup.installation.tree import Folder, failure
from qdrant_backup.layout import unused_backup_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

__all__ = ["ConfigChange", "ConfigState", "RestoredConfig", "config_changes", "restore_file"]

_LARGEST_CONFIG_BYTES = 16 << 20
_PRIVATE = 0o600
_MOST_PERMISSIONS = 0o644
_KNOWN = frozenset(place for places in PLACES.values() for place in places)


class ConfigState(str, enum.Enum):
    """How an installed config file compares with the backup's."""

    SAME = "same"
    DIFFERENT = "different"
    ABSENT = "absent"
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True)
class ConfigChange:
    """What restoring one config file would do.

    Attributes:
        file: the backup's file.
        target: where it goes.
        state: how what is there compares; REFUSED when it must not or cannot be replaced.
        difference: a unified difference from what is installed to the backup's, secrets masked; empty unless DIFFERENT.
        error: why it is refused.
    """

    file: ConfigFile
    target: Path
    state: ConfigState
    difference: str = ""
    error: ConfigFailed | None = None


@dataclasses.dataclass(frozen=True)
class RestoredConfig:
    """A config file that was put back: where, and where the file it replaced lies now (None: there was none).

    `changed` is false when what was installed was the same already.
    """

    target: Path
    kept_as: Path | None
    changed: bool


def config_changes(installation: Installation, files: Iterable[ConfigFile]) -> list[ConfigChange]:
    """What `restore_file` would do with each; changes nothing and raises for nothing that one file is guilty of.

    For a backup of the original scripts, which do not say where a file came from, `original` is empty.
    """
    return [_change(installation, file) for file in files]


def _change(installation: Installation, file: ConfigFile) -> ConfigChange:
    target = installation.directory / file.name
    try:
        place = _place(installation, file)
        target = installation.directory / place
        installed = installation.tree.read(place, _LARGEST_CONFIG_BYTES)
    except ConfigFailed as error:
        return ConfigChange(file, target, ConfigState.REFUSED, error=error)
    if installed is None:
        return ConfigChange(file, target, ConfigState.ABSENT)
    if installed[0] == file.data:
        return ConfigChange(file, target, ConfigState.SAME)
    return ConfigChange(file, target, ConfigState.DIFFERENT, masked_difference(place, installed[0], file.data))


def restore_file(installation: Installation, file: ConfigFile, moment: datetime) -> RestoredConfig:
    """Put a config file back in one step; the one it replaces stays beside it as `NAME.2026-02-03_143052.bak`.

    The file keeps the mode and owner of the one it replaces; a new `.env` gets 0600.

    Args:
        installation: where to.
        file: the backup's.
        moment: now, for the old file's new name; an older `.bak` is never overwritten.

    Raises:
        ConfigFailed: the file is none of an installation's, a link is in the way, or it cannot be written. What was
            installed is still there, untouched.
    """
    place = _place(installation, file)
    target = installation.directory / place
    installed = installation.tree.read(place, _LARGEST_CONFIG_BYTES)
    if installed is not None and installed[0] == file.data:
        return RestoredConfig(target, None, changed=False)
    try:
        with installation.tree.folder_of(place, create=True) as (folder, name):
            before = folder.status(name)
            kept_as = None if installed is None or before is None else _keep(folder, name, installed[0], before, moment)
            folder.replace(name, file.data, _mode(file, name, before), owner=before)
    except OSError as error:
        raise failure(error, target, "write") from error
    return RestoredConfig(target, kept_as, changed=True)


def _keep(folder: Folder, name: str, data: bytes, before: os.stat_result, moment: datetime) -> Path:
    kept_name = f"{name}.{unused_backup_id(moment, _Existing(folder, name))}.bak"
    folder.create(kept_name, data, stat.S_IMODE(before.st_mode) & 0o777, owner=before)
    folder.sync()
    return folder.path / kept_name


class _Existing:
    """The ids under which a `.bak` file of that name already lies there."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = name

    def __contains__(self, backup_id: object) -> bool:
        return self._folder.status(f"{self._name}.{backup_id}.bak") is not None


def _mode(file: ConfigFile, name: str, before: os.stat_result | None) -> int:
    if before is not None:
        return stat.S_IMODE(before.st_mode) & 0o777
    if name == ".env":
        return _PRIVATE
    return (file.mode & _MOST_PERMISSIONS) | _PRIVATE


def _place(installation: Installation, file: ConfigFile) -> str:
    """Where in the installation the file belongs: where it came from, or else where such a file lies now."""
    if file.original in _KNOWN and file.original.rpartition("/")[2] == file.name.rpartition("/")[2]:
        return file.original
    places = PLACES.get(file.name)
    if places is not None and not file.original:
        return next((place for place in places if os.path.lexists(installation.directory / place)), places[0])
    if file.name in _KNOWN and not file.original:
        return file.name
    raise ConfigFailed(
        f"The config file {file.name!r} is not restored",
        why=f"the backup says that it came from {file.original!r}, where an installation keeps no config file",
        advice=f"It lies in the backup as {file.path}: look at it, and copy it by hand.",
    )
