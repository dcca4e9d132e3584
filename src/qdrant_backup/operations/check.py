"""`check`, the doctor: looks at everything a backup or a restore needs, and says what to do about what it finds.

What could not be looked at is a finding too. Nothing is changed: rights are probed with requests that cannot succeed.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Literal

from qdrant_backup.errors import AccessDenied, QdrantBackupError
from qdrant_backup.model import human_size
from qdrant_backup.operations.backup import BackupRequest, plan, survey
from qdrant_backup.operations.listing import list_backups
from qdrant_backup.operations.open_journal import refuse_open_journal
from qdrant_backup.storage.catalogue import CatalogueFile
from qdrant_backup.storage.intents import IntentStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qdrant_backup.operations.ports import Ports

__all__ = ["Finding", "check"]

_DAY_S = 86_400
_OLD_DAYS = 7


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what.
        verdict: `ok`, `warning` (works, and should be seen to), or `problem` (a backup or a restore would fail).
        detail: what was found.
        remedy: what to do; empty for `ok`.
    """

    subject: str
    verdict: Literal["ok", "warning", "problem"]
    detail: str
    remedy: str = ""


def check(ports: Ports) -> Iterator[Finding]:
    """Look at everything, one finding after the other."""
    looks: tuple[tuple[str, Callable[[Ports], Iterator[Finding]]], ...] = (
        ("server", _server),
        ("backup", _backup),
        ("restore", _restore_rights),
        ("backup directory", _directory),
        ("last backup", _last),
        ("backups", _known),
        ("unfinished work", _unfinished),
        ("installation", _installation),
    )
    for subject, look in looks:
        yield from _looked(subject, look, ports)


def _looked(subject: str, look: Callable[[Ports], Iterator[Finding]], ports: Ports) -> Iterator[Finding]:
    try:
        yield from look(ports)
    except QdrantBackupError as error:
        yield Finding(subject, "problem", str(error), error.advice)


def _server(ports: Ports) -> Iterator[Finding]:
    identity = ports.server.identity()
    yield Finding("server", "ok", f"Qdrant {identity.version} at {ports.server.url}")
    ports.server.refuse_clusters(identity)


def _backup(ports: Ports) -> Iterator[Finding]:
    decided = plan(survey(BackupRequest(), ports))
    size, free = human_size(decided.estimated_bytes), human_size(decided.free_bytes)
    detail = f"{len(decided.collections)} collections, about {size}; {free} free; the key may read and snapshot them"
    yield Finding("backup", "ok", detail)
    for found in decided.collections:
        if found.info.status in {"red", "grey"}:
            detail = f"{found.name} is {found.info.status}"
            yield Finding("backup", "warning", detail, "Look into the server's log; an ailing shard fails a snapshot.")


def _restore_rights(ports: Ports) -> Iterator[Finding]:
    names = ports.server.collections()
    try:
        ports.server.probe(names, ("restore", "aliases"))
    except AccessDenied as error:
        yield Finding("restore", "warning", str(error), "Backups work; for a restore set a key with full rights.")
        return
    detail = "the key may restore and set aliases" if names else "not probed: the server has no collection to ask about"
    yield Finding("restore", "ok", detail)


def _directory(ports: Ports) -> Iterator[Finding]:
    root = ports.directory.root
    place = next(path for path in (root, *root.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield Finding("backup directory", "problem", f"{place} cannot be written", "Choose another with --output.")
        return
    yield Finding("backup directory", "ok", str(root) if place == root else f"{root} (will be created)")
    if place == root and root.stat().st_mode & 0o077:
        yield Finding(
            "backup directory",
            "warning",
            f"other users of this machine may look into {root}",
            f"Backups in it are private; to hide their names too: chmod 700 {root}",
        )


def _last(ports: Ports) -> Iterator[Finding]:
    overview = list_backups(ports.directory)
    for invalid in overview.invalid:
        yield Finding("backups", "warning", f"{invalid.path} is not a backup", "Look at it, and delete it by hand.")
    if overview.catalogue_error is not None:
        yield Finding("catalogue", "warning", str(overview.catalogue_error), overview.catalogue_error.advice)
    for entry in overview.listed:
        if entry.level == "damaged":
            name = entry.backup.backup_id
            yield Finding("backups", "problem", f"{name} is damaged", f"qdrant-backup verify {name}")
    whole = [entry for entry in overview.listed if entry.level != "damaged"]
    if not whole:
        yield Finding("last backup", "warning", "there is none", "qdrant-backup backup")
        return
    days = (ports.clock.now() - whole[0].backup.finished_at).total_seconds() / _DAY_S
    detail = f"{whole[0].backup.backup_id}, {days:.1f} days old, level {whole[0].level}"
    if days > _OLD_DAYS:
        yield Finding("last backup", "warning", detail, "Back up more often; the guide's cron line does it daily.")
    else:
        yield Finding("last backup", "ok", detail)


def _known(ports: Ports) -> Iterator[Finding]:
    """What was verified here, and is gone or another now: nobody but `prune` should delete, and nobody replace."""
    root = ports.directory.root
    found = [*ports.directory.survey().backups, *ports.directory.survey(safety=True).backups]
    sums = {backup.backup_id: backup.manifest_sha256 for backup in found}
    newest = max((backup.backup_id for backup in found), default="")
    for entry in CatalogueFile(root).read().entries:
        name = entry.backup_id
        if name in sums and sums[name] != entry.manifest_sha256:
            remedy = f"Somebody replaced it. Look at it with `qdrant-backup show {name}`, and restore another."
            yield Finding("backups", "warning", f"{name} is not the backup that was verified under that name", remedy)
        elif name > newest and not (root / name).exists():
            remedy = "If you did not delete it, find out who did: `latest` means an older one now."
            yield Finding("backups", "warning", f"{name} was the newest backup, and is gone", remedy)


def _unfinished(ports: Ports) -> Iterator[Finding]:
    refuse_open_journal(ports)
    pending = IntentStore(ports.directory.root).pending()
    for file in pending:
        what = f"a killed run may have left a snapshot of {file.intent.collection} on {file.intent.server_url}"
        yield Finding("unfinished work", "warning", what, "The next backup of that server removes it.")
    if not pending:
        yield Finding("unfinished work", "ok", "none")


def _installation(ports: Ports) -> Iterator[Finding]:
    config = ports.installation.config()
    for name, error in config.failed:
        yield Finding("installation", "problem", f"{name}: {error.why}", "Give this user the right to read it.")
    names = ", ".join(file.name for file in config.found)
    where = ports.installation.directory
    if not config.found:
        yield Finding(
            "installation", "warning", f"no config files in {where}", "Set AI_MEMORY_INSTALL_DIR if it is elsewhere."
        )
        return
    yield Finding("installation", "ok", f"{names} in {where} (version {ports.installation.version()})")
