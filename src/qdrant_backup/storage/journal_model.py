"""The values a restore's journal is made of. `journal.py` keeps them on disk and says what for."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

import msgspec

from qdrant_backup.model import BackupId, Checksum, CollectionName, ServerIdentity

__all__ = ["JOURNAL_FORMAT", "Journal", "JournalServer", "Prior", "RestoreKind", "Step", "Target", "TargetState"]

JOURNAL_FORMAT = 1


class TargetState(str, enum.Enum):
    """How far one target is.

    PENDING: nothing has touched it. SAFE: its safety copy exists and has passed. APPLYING: an upload, a drop or a
    creation may be under way. APPLIED: the server said it is done. VERIFIED: its content was compared with the
    backup's. ROLLED_BACK: it is as it was before, verified (or gone, where it did not exist). NOT_RESTORED: it is in
    neither state, and only the safety backup has its content.
    """

    PENDING = "pending"
    SAFE = "safe"
    APPLYING = "applying"
    APPLIED = "applied"
    VERIFIED = "verified"
    ROLLED_BACK = "rolled_back"
    NOT_RESTORED = "not_restored"


class RestoreKind(str, enum.Enum):
    """What wrote the journal: a restore; an undo, which is a restore of a safety backup; the recovery of points; a drill.

    A recovery's `options` hold `points_sha256`, of the file in `.undo/` that has its points and what they replaced.
    """

    RESTORE = "restore"
    UNDO = "undo"
    RECOVER = "recovery"
    DRILL = "drill"


class JournalServer(msgspec.Struct, frozen=True, kw_only=True):
    """The server the restore talks to, so that resume and undo can refuse another one. `url` carries no secrets."""

    url: str
    version: str
    commit: str = ""
    process_id: str = ""
    peer_id: int = 0
    peers: tuple[str, ...] = ()

    @classmethod
    def of(cls, url: str, identity: ServerIdentity) -> JournalServer:
        """The identity that answered at `url` (already without user name, password and query)."""
        return cls(
            url=url,
            version=identity.version,
            commit=identity.commit,
            process_id=identity.process_id,
            peer_id=identity.peer_id,
            peers=identity.peers,
        )


class Prior(msgspec.Struct, frozen=True, kw_only=True):
    """A target before anything touched it; rolling back means making it so again.

    Attributes:
        existed: whether `GET /collections` listed it.
        config: its raw config as the server gave it.
        payload_schema: its payload indexes as the server gave them.
        content: the digest's content hash of the safety copy; empty while unknown or unreadable.
        points: the points that digest counted.
        versions: each segment's version (`partial/manifest`), by shard, which moves with every write.
        snapshot_sha256: the safety copy's archive.
    """

    existed: bool
    config: dict[str, Any] | None = None
    payload_schema: dict[str, Any] | None = None
    content: str = ""
    points: int | None = None
    versions: Any = None
    snapshot_sha256: Checksum = Checksum("")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step on a target: written with its intent, written again with its outcome.

    Attributes:
        action: `upload`, `drop`, `create_index`, `move_alias`, `rollback_upload`, ...
        intended_at: when the intent was written (UTC).
        detail: what the step needs to be recognised afterwards: upload name, checksum, alias.
        concluded_at: when the outcome was written; None while nobody knows how it went.
        outcome: `done`, or what was reported instead.
    """

    action: str
    intended_at: datetime
    detail: dict[str, Any] = {}
    concluded_at: datetime | None = None
    outcome: str = ""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One collection on the server that the restore writes to.

    Attributes:
        collection: its name on the server.
        source: its name in the backup; differs after `--rename`.
        prior: what was there.
        state: how far it is.
        upload_name: the random name our upload has on the server; empty before one was chosen.
        upload_sha256: the archive that is uploaded.
        replace: whether the plan is to drop it and recreate it from the backup (`--replace`).
        replaced: whether it was dropped and recreated, so that rolling back drops it as well.
        content_expected: the content hash of the backup's digest; empty where there is none.
        content_after: the content hash the restore left, as measured; what `undo` compares the live content with.
        versions_after: as `prior.versions`, right after the restore had finished with it.
        displaced_id: a backup taken of what writers had changed between apply and rollback.
        steps: all steps in the order they were begun.
        note: the reason of the state, in words for the report.
    """

    collection: CollectionName
    source: CollectionName
    prior: Prior
    state: TargetState = TargetState.PENDING
    upload_name: str = ""
    upload_sha256: Checksum = Checksum("")
    replace: bool = False
    replaced: bool = False
    content_expected: str = ""
    content_after: str = ""
    versions_after: Any = None
    displaced_id: BackupId | None = None
    steps: tuple[Step, ...] = ()
    note: str = ""

    @property
    def open_step(self) -> Step | None:
        """The step whose outcome nobody knows: the server may still be at it."""
        return next((step for step in reversed(self.steps) if step.concluded_at is None), None)


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """A restore, whole. Change it with the methods here, and make the change count with `JournalFile.write`.

    Attributes:
        restore_id: names the restore; also in the record's file name.
        order: restores of one backup directory in the order they began; `JournalFile.begin` sets it.
        kind: restore or undo.
        server: who it talks to.
        backup_id: the backup that is restored.
        backup_path: where that backup lies, as an absolute path.
        manifest_sha256: its manifest, so that a replaced backup shows.
        safety_id: the safety backup; None before it is taken, with `--no-safety`, or where no target existed.
        safety_path: where it lies.
        aliases_before: the server's whole alias table before (alias to collection).
        aliases_planned: the aliases that move to restored collections.
        aliases_moved: those that have moved, and were read back.
        options: the flags of the run that a resume must honour.
        rolling_back: everything is being put back; such a restore can only be undone, never resumed.
        undoes: the restore id that an undo takes back.
        started_at: when the restore began.
        committed_at: when every target was verified; None when that never happened.
        format: the version of this layout.
    """

    restore_id: str
    kind: RestoreKind
    server: JournalServer
    backup_id: BackupId
    backup_path: str
    started_at: datetime
    targets: tuple[Target, ...]
    order: int = 0
    manifest_sha256: Checksum = Checksum("")
    safety_id: BackupId | None = None
    safety_path: str = ""
    aliases_before: dict[str, str] = {}
    aliases_planned: dict[str, str] = {}
    aliases_moved: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    undoes: str = ""
    rolling_back: bool = False
    committed_at: datetime | None = None
    format: int = JOURNAL_FORMAT

    def target(self, collection: str) -> Target:
        """The target of that name on the server; `KeyError` when the plan has none."""
        for target in self.targets:
            if target.collection == collection:
                return target
        raise KeyError(collection)

    def but(self, **changes: Any) -> Journal:
        """This journal with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def with_target(self, collection: str, **changes: Any) -> Journal:
        """This journal with one target's fields changed; `KeyError` when the plan has none of that name."""
        self.target(collection)
        return self.but(
            targets=tuple(
                msgspec.structs.replace(target, **changes) if target.collection == collection else target
                for target in self.targets
            )
        )

    @property
    def needs_safety_backup(self) -> bool:
        """Whether the safety backup must never expire: some target's content is nowhere else."""
        return any(target.state is TargetState.NOT_RESTORED for target in self.targets)
