"""A backup that the guide's original scripts really made, of a real server (Qdrant 1.18.3), with what it must hold."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).parent.parent / "data" / "original-scripts-backup.tar.xz"


@dataclasses.dataclass(frozen=True)
class OriginalBackup:
    """Where it was unpacked to, and its content.

    Attributes:
        backup_dir: the dated directory with `manifest.json`.
        backups_dir: the directory above it.
        expected_points: per collection, point id to BLAKE2b-96 of the JSON of [payload, vectors].
    """

    backup_dir: Path
    backups_dir: Path
    expected_points: dict[str, dict[str, str]]

    def snapshot(self, collection: str) -> Path:
        return self.backup_dir / "qdrant" / f"{collection}.snapshot"


def unpack_original_backup(directory: Path) -> OriginalBackup:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(directory, filter="data")
    backups = directory / "backups"
    expected = json.loads((backups / "expected-points.json").read_text())
    (backups / "expected-points.json").unlink()
    (backup,) = (path for path in backups.iterdir() if path.is_dir())
    return OriginalBackup(backup, backups, expected)


@pytest.fixture
def original_backup(tmp_path: Path) -> OriginalBackup:
    """For a test module that imports this name."""
    return unpack_original_backup(tmp_path / "original")
