"""One restore under way: its ports, its journal on disk and the lock it holds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from qdrant_backup.errors import AccessDenied, IntegrityFailed, RefusedForSafety, ServerRefused
from qdrant_backup.storage.journal import JournalFile, JournalServer, TargetState

if TYPE_CHECKING:
    from collections.abc import Generator

    from qdrant_backup.model import ServerIdentity
    from qdrant_backup.operations.events import Event
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.journal import Journal, RestoreRecord, Target
    from qdrant_backup.storage.lock import DirectoryLock

__all__ = ["Session", "peer_of", "require_same_server", "who_answers"]

# What the server said no to has certainly not happened; any other end of a call leaves the step open.
_DEFINITE = (ServerRefused, AccessDenied, IntegrityFailed)


class Session:
    """A journal and what acts on it. Each change is durable before the next line runs.

    Args:
        ports: what the run acts through.
        lock: the backup directory's, held.
        journal: as it stands on disk.
        resumed: an earlier process began it; what happened on the server since is unknown.
        file: where it stands; the backup directory's one journal of restores when left out.
    """

    def __init__(
        self,
        ports: Ports,
        lock: DirectoryLock,
        journal: Journal,
        *,
        resumed: bool = False,
        file: JournalFile | None = None,
    ) -> None:
        self.ports = ports
        self.lock = lock
        self.journal = journal
        self.resumed = resumed
        self.file = file or JournalFile(ports.directory.root, ports.clock)

    def target(self, collection: str) -> Target:
        """A target as it stands."""
        return self.journal.target(collection)

    def tell(self, event: Event) -> None:
        """Say what happened."""
        self.ports.tell(event)

    def update(self, **changes: Any) -> None:
        """Change fields of the journal."""
        self.journal = self.journal.but(**changes)
        self.file.write(self.journal)

    def mark(self, collection: str, **changes: Any) -> None:
        """Change fields of a target."""
        self.journal = self.journal.with_target(collection, **changes)
        self.file.write(self.journal)

    def reload(self) -> None:
        """Take the journal as it stands on disk: an interrupt may have come between writing it and remembering it."""
        self.journal = self.file.read() or self.journal

    @contextlib.contextmanager
    def step(self, collection: str, action: str, **changes: Any) -> Generator[None, None, None]:
        """A step that destroys or creates: the lock is looked at, the intent written, then the outcome.

        When the block raises and the server may have begun all the same (no answer, an interrupt), the step stays open.
        """
        self.lock.require(f"{action} {collection}")
        self.journal = self.file.intend(self.journal, collection, action, **changes)
        try:
            yield
        except _DEFINITE as error:
            self.journal = self.file.conclude(self.journal, collection, outcome=str(error))
            raise
        self.journal = self.file.conclude(self.journal, collection)

    def commit(self) -> RestoreRecord:
        """Every target is as wanted: the journal becomes a record that `undo` works from."""
        if self.journal.committed_at is None:
            self.update(committed_at=self.ports.clock.now())
        return self.file.close(self.journal)

    def settled(self) -> bool:
        """Whether a roll-back has left no target in doubt."""
        return all(target.state is TargetState.ROLLED_BACK for target in self.journal.targets)


def peer_of(ports: Ports, identity: ServerIdentity) -> int:
    """The number of the peer that answers; standalone servers tell it with their collections only, 0 without any."""
    if identity.peer_id:
        return identity.peer_id
    for name in ports.server.collections():
        with contextlib.suppress(ServerRefused, AccessDenied):
            for replica in ports.server.replicas(name):
                if replica.local:
                    return replica.peer_id
    return 0


def who_answers(ports: Ports) -> JournalServer:
    """The server as the journal remembers it."""
    identity = ports.server.identity()
    return JournalServer(
        url=ports.server.url,
        version=identity.version,
        commit=identity.commit,
        process_id=identity.process_id,
        peer_id=peer_of(ports, identity),
        peers=identity.peers,
    )


def require_same_server(ports: Ports, recorded: JournalServer, doing: str) -> None:
    """Go on only with the server that the restore talked to. A restart or an upgrade of it is no other server.

    Raises:
        RefusedForSafety: the URL or the peer is another one.
    """
    here = ports.server.url
    why = ""
    if here != recorded.url:
        why = f"the restore was made at {recorded.url}, and this is {here}"
    else:
        peer = who_answers(ports).peer_id
        if peer and recorded.peer_id and peer != recorded.peer_id:
            why = f"{here} answers as peer {peer}, and the restore talked to peer {recorded.peer_id}"
    if why:
        raise RefusedForSafety(
            f"Another server cannot be used to {doing}",
            why=why,
            advice=f"Point QDRANT_URL (or QDRANT_HOST and QDRANT_PORT, or --into-url) at {recorded.url} and run it again.",
        )
