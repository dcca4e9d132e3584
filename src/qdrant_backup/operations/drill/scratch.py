"""The scratch collections of a drill on a server: written down before they exist, and removed on every way out.

Their names hold 64 random bits that no listed collection and no alias has, so whatever has such a name and stands in a
drill's journal is surely ours. What cannot be removed is named, and its journal stays for the next drill there.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qdrant_backup.errors import QdrantBackupError, RefusedForSafety
from qdrant_backup.layout import backup_id_at
from qdrant_backup.operations.events import Note, Warned
from qdrant_backup.operations.restore.applying import await_upload, drop, remove_uploads
from qdrant_backup.operations.restore.live import settle
from qdrant_backup.operations.restore.session import Session
from qdrant_backup.storage.drills import DrillFile
from qdrant_backup.storage.journal import Journal, Prior, RestoreKind, Target, TargetState

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from qdrant_backup.model import CollectionName
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.restore.plan import Facts
    from qdrant_backup.storage.lock import DirectoryLock

__all__ = ["PREFIX", "remove_scratch", "scratch_collections", "scratch_names", "sweep_scratch"]

PREFIX = "__drill_"
_NAME_TRIES = 5
_TOKEN_DIGITS = 16


def scratch_names(ports: Ports, collections: Sequence[str]) -> dict[str, str]:
    """A scratch name for each collection of a backup: `__drill_<random>_<number>`, none of them known to the server.

    Raises:
        ConnectionFailed, AccessDenied: the server does not say which names it has.
        RefusedForSafety: each random name is taken.
    """
    taken = {*ports.server.collections(), *ports.server.aliases()}
    for _ in range(_NAME_TRIES):
        token = ports.token()[:_TOKEN_DIGITS]
        names = {name: f"{PREFIX}{token}_{number}" for number, name in enumerate(collections, 1)}
        if not taken & set(names.values()):
            return names
    raise RefusedForSafety("no unused name for a scratch collection was found", why="each random name is taken")


@contextlib.contextmanager
def scratch_collections(ports: Ports, lock: DirectoryLock, facts: Facts) -> Generator[Session]:
    """A session whose targets are scratch collections; on the way out, however it ends, all of them are removed."""
    backup, started = facts.source.backup, ports.clock.now()
    drill_id = f"{backup_id_at(started)}-{ports.token()[:8]}"
    file = DrillFile(ports.directory.root, ports.clock, drill_id)
    journal = Journal(
        restore_id=drill_id,
        kind=RestoreKind.DRILL,
        server=facts.server,
        backup_id=backup.backup_id,
        backup_path=str(backup.path),
        manifest_sha256=backup.manifest_sha256,
        started_at=started,
        targets=tuple(
            Target(collection=each.target, source=each.archive.name, prior=Prior(existed=False))
            for each in facts.targets
        ),
    )
    session = Session(ports, lock, file.begin(journal), file=file)
    try:
        yield session
    finally:
        session.reload()
        _remove_all(session)


def _remove_all(session: Session) -> None:
    gone = [_is_removed(session, target.collection) for target in session.journal.targets]
    if all(gone):
        session.file.drop()


def _is_removed(session: Session, name: CollectionName) -> bool:
    try:
        remove_scratch(session, name)
    except QdrantBackupError as error:
        where = session.ports.server.url
        session.tell(
            Warned(f"the scratch collection {name} may stay on {where}: {error}; the next drill there removes it")
        )
        return False
    return True


def remove_scratch(session: Session, name: CollectionName) -> None:
    """Remove one scratch collection and what was uploaded for it; nothing happens where nothing was begun.

    Raises:
        QdrantBackupError: it may still be there.
    """
    target, ports = session.target(name), session.ports
    if not target.steps or target.state is TargetState.ROLLED_BACK:
        return
    await_upload(session, name)
    settle(ports, name)
    remove_uploads(session, name)
    if ports.server.exists(name):
        drop(session, name)
    session.mark(name, state=TargetState.ROLLED_BACK)


def sweep_scratch(ports: Ports, lock: DirectoryLock) -> None:
    """Remove from this server what killed drills left there, and only what their journals name."""
    root = ports.directory.root
    for file in DrillFile.pending(root, ports.clock):
        try:
            journal = file.read()
        except QdrantBackupError as error:
            # Which collections a damaged note meant nobody knows any more.
            ports.tell(Warned(f"the note of a killed drill cannot be read, look for {PREFIX}* collections: {error}"))
            continue
        if journal is None:
            continue
        left = _begun(journal.targets)
        if journal.server.url != ports.server.url:
            if left:
                ports.tell(
                    Warned(
                        f"a killed drill left {', '.join(left)} on {journal.server.url}; the next drill there removes it"
                    )
                )
            continue
        if left:
            ports.tell(Note(f"removing what the killed drill {journal.restore_id} left: {', '.join(left)}"))
        _remove_all(Session(ports, lock, journal, resumed=True, file=file))


def _begun(targets: Iterable[Target]) -> list[str]:
    return [target.collection for target in targets if target.steps and target.state is not TargetState.ROLLED_BACK]
