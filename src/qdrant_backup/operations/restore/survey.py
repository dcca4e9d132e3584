"""The survey of a restore: verify the backup, then look at the server. Nothing is changed, here or there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import CollectionMissing, UsageError
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.events import Connected
from qdrant_backup.operations.open_journal import refuse_open_journal
from qdrant_backup.operations.restore.live import look
from qdrant_backup.operations.restore.plan import Facts, TargetFacts
from qdrant_backup.operations.restore.session import who_answers
from qdrant_backup.operations.restore.source import open_source
from qdrant_backup.storage.files import free_bytes

if TYPE_CHECKING:
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.restore.requests import RestoreRequest
    from qdrant_backup.operations.restore.source import Archive, Source

__all__ = ["survey"]

_FORBIDDEN = frozenset('<>:"/\\|?*\0')
_LONGEST_NAME = 255


def _require_name(name: str) -> None:
    if not name or len(name) > _LONGEST_NAME or set(name) & _FORBIDDEN:
        raise UsageError(
            f"{name!r} cannot be a collection's name",
            why='Qdrant takes 1 to 255 characters without < > : " / \\ | ? *',
            advice="Give another name to --rename.",
        )


def _require_renames(source: Source, request: RestoreRequest) -> None:
    for old, new in request.rename.items():
        if CollectionName(old) not in source.archives:
            raise CollectionMissing(
                f"--rename names {old!r}, which is not restored",
                why=f"restored are {', '.join(source.archives)}",
                advice="Check the spelling: names are case-sensitive.",
            )
        _require_name(new)


def survey(request: RestoreRequest, ports: Ports) -> Facts:
    """Verify the backup byte by byte, connect, ask for the rights, and look at every target.

    Raises:
        RefusedForSafety: an earlier restore has not ended.
        BackupNotFound, BackupInvalid, IntegrityFailed, CollectionMissing, UsageError: the backup or its naming.
        ConnectionFailed, NotQdrant, AccessDenied: the server.
        Incompatible: a newer format, or a server with several peers.
    """
    refuse_open_journal(ports)
    source = open_source(ports, request.reference, request.collections)
    _require_renames(source, request)
    server = ports.server
    identity = who_answers(ports)
    server.refuse_clusters()
    targets = [(archive, CollectionName(request.rename.get(name, name))) for name, archive in source.archives.items()]
    needs = ["read", "snapshot", "restore"] + (["aliases"] if source.backup.manifest.aliases else [])
    server.probe([target for _, target in targets], needs)
    ports.tell(Connected(*ports.address, identity.version))
    return Facts(
        request=request,
        source=source,
        server=identity,
        targets=tuple(_target(ports, archive, target) for archive, target in targets),
        collections=frozenset(server.collections()),
        aliases=server.aliases(),
        free_bytes=free_bytes(ports.directory.root),
    )


def _target(ports: Ports, archive: Archive, target: CollectionName) -> TargetFacts:
    live = look(ports, target)
    return TargetFacts(archive, target, live, ports.server.estimated_bytes(target) if live.exists else 0)
