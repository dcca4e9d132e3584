"""The installation's config and log files on their way into a backup."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qdrant_backup.errors import NotWritable, OperationFailed
from qdrant_backup.manifest import ConfigEntry, Skipped
from qdrant_backup.operations.events import ConfigBackedUp, ConfigBegun, ConfigFailedEvent, LogsBackedUp

if TYPE_CHECKING:
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.partial import PartialBackup

__all__ = ["NO_CONFIG", "ConfigOutcome", "back_up_config", "back_up_logs"]


@dataclasses.dataclass(frozen=True)
class ConfigOutcome:
    """What came of the config files.

    Attributes:
        entries: those in the backup; `path` is the name below `config/`.
        skipped: those that are there and could not be read.
        failures: the same, as sentences for the run's error.
    """

    entries: tuple[ConfigEntry, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    failures: tuple[str, ...] = ()


NO_CONFIG = ConfigOutcome()


def back_up_config(ports: Ports, partial: PartialBackup) -> ConfigOutcome:
    """Put the config files into the backup; one that cannot be read does not cost the collections their backup."""
    config = ports.installation.config()
    ports.tell(ConfigBegun())
    entries: list[ConfigEntry] = []
    for file in config.found:
        partial.write(file.path, file.data)
        entries.append(ConfigEntry(path=file.name, original=file.original, mode=file.mode))
        ports.tell(ConfigBackedUp(file.name))
    for name, error in config.failed:
        ports.tell(ConfigFailedEvent(name, error.why))
    return ConfigOutcome(
        tuple(entries),
        tuple(Skipped(what=f"config file {name}", reason=error.why) for name, error in config.failed),
        tuple(str(error) for _, error in config.failed),
    )


def back_up_logs(ports: Ports, partial: PartialBackup) -> tuple[Skipped, ...]:
    """Put the log files into the backup; one that vanishes or cannot be read is named, and is no failure."""
    logs = ports.installation.logs()
    skipped = [Skipped(what=f"log file {skip.what}", reason=skip.reason) for skip in logs.skipped]
    files = size_bytes = 0
    for log in logs.found:
        file = partial.create(log.path)
        try:
            for block in log.blocks():
                file.write(block)
        except OperationFailed as error:
            if isinstance(error, NotWritable):  # Our side of the copy failed, not the log's.
                raise
            partial.drop(log.path)
            skipped.append(Skipped(what=f"log file {log.original}", reason=str(error)))
            continue
        file.close()
        files, size_bytes = files + 1, size_bytes + file.size_bytes
    ports.tell(LogsBackedUp(files, size_bytes))
    return tuple(skipped)
