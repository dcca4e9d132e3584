"""The config files of a backup: what putting them back would change, and putting them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import ConfigFailed, QdrantBackupError
from qdrant_backup.installation.installation import ConfigFile
from qdrant_backup.installation.restoring import ConfigState, config_changes, restore_file
from qdrant_backup.layout import CONFIG_DIRECTORY
from qdrant_backup.operations.events import ConfigRestored
from qdrant_backup.operations.restore.plan import ConfigFilePlan

if TYPE_CHECKING:
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["plan_config", "restore_config"]

_LARGEST_BYTES = 16 << 20
_ACTIONS = {
    ConfigState.SAME: "same",
    ConfigState.DIFFERENT: "replace",
    ConfigState.ABSENT: "create",
    ConfigState.REFUSED: "refused",
}


def _files(backup: StoredBackup) -> list[ConfigFile]:
    origins = {entry.path.removeprefix(f"{CONFIG_DIRECTORY}/"): entry for entry in backup.manifest.config}
    files: list[ConfigFile] = []
    for listed in backup.manifest.config_files:
        name = listed.removeprefix(f"{CONFIG_DIRECTORY}/")
        entry = origins.get(name)
        data = bytearray()
        for block in backup.blocks(f"{CONFIG_DIRECTORY}/{name}"):
            data += block
            if len(data) > _LARGEST_BYTES:
                raise ConfigFailed(f"config/{name} is not restored", why=f"it has more than {_LARGEST_BYTES} bytes")
        files.append(ConfigFile(name, entry.original if entry else "", bytes(data), entry.mode if entry else 0o600))
    return files


def plan_config(backup: StoredBackup, ports: Ports) -> tuple[ConfigFilePlan, ...]:
    """What restoring each config file would do; nothing is changed."""
    return tuple(
        ConfigFilePlan(
            name=change.file.name,
            path=str(change.target),
            action=_ACTIONS[change.state],
            difference=str(change.error) if change.error is not None else change.difference,
        )
        for change in config_changes(ports.installation, _files(backup))
    )


def restore_config(backup: StoredBackup, ports: Ports) -> tuple[tuple[str, ...], ConfigFailed | None]:
    """Put each config file back, the old one kept as `.bak`; one that fails does not stop the others.

    Returns:
        The names of those that are in place, and the error for the others.
    """
    restored: list[str] = []
    failures: list[str] = []
    try:
        files = _files(backup)
    except QdrantBackupError as error:
        return (), _failed([str(error)])
    for file in files:
        try:
            done = restore_file(ports.installation, file, ports.clock.now())
        except ConfigFailed as error:
            failures.append(f"{file.name}: {error.why or error.what}")
            continue
        restored.append(file.name)
        ports.tell(ConfigRestored(file.name, str(done.target), str(done.kept_as) if done.kept_as else ""))
    return tuple(restored), _failed(failures) if failures else None


def _failed(failures: list[str]) -> ConfigFailed:
    return ConfigFailed(
        f"The collections are restored, and {len(failures)} config file(s) are not",
        why="; ".join(failures),
        advice="Nothing of the collections needs to be done again: put these files back by hand, or mend the cause and "
        "run the restore with --restore-config once more.",
    )
