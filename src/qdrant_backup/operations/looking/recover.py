"""`recover`: bring points back alone from a backup into live collections, so that `undo` can take it back.

    survey    which points are chosen, what the backup holds of them, and what the server does
    plan      added, overwritten or kept, each with its reason; written to a points file
    run       the file's points are written, read back and compared; when that fails, everything is put back

The journal is opened before the first write and becomes a record when all is done, as with a restore.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.digest import KEY_SIZE, point_id_of, point_key
from qdrant_backup.errors import CollectionMissing, Incompatible, IntegrityFailed, OperationFailed, UsageError
from qdrant_backup.layout import backup_id_at
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.ahead import one_ahead
from qdrant_backup.operations.looking.recover_values import (
    ADDED,
    KEPT,
    MISSING_ONLY,
    OVERWRITE,
    OVERWRITTEN,
    Chosen,
    Fate,
    RecoverPlan,
    RecoverRequest,
    excerpt,
)
from qdrant_backup.operations.looking.search import search
from qdrant_backup.operations.mending.carry_out import Done
from qdrant_backup.operations.mending.points import (
    content_of_point,
    content_of_record,
    exact_point,
    state_of,
    unwritable,
)
from qdrant_backup.operations.mending.recovery import needed_points, run, sweep_points
from qdrant_backup.operations.open_journal import refuse_open_journal
from qdrant_backup.operations.restore.differences import differences
from qdrant_backup.operations.restore.session import who_answers
from qdrant_backup.storage.journal import Journal, JournalFile, Prior, RestoreKind, Target, TargetState
from qdrant_backup.storage.lock import DirectoryLock
from qdrant_backup.storage.points_file import Mend, PointsFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from qdrant_backup.operations.looking.search import Question
    from qdrant_backup.operations.looking.sides import BackupSide
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.qdrant.points import RawPoint

__all__ = ["Recovery"]

_Points = dict[int | str, dict[str, Any]]
_Pick = tuple[int | str, bytes]
"""A chosen point: its id and its record in the backup's digest."""

_BATCH_IDS = 256
_PAGE = 5000


class Recovery:
    """A recovery from one backup, as a context: `plan`, then `carry_out`.

    When it is left, the points file goes where neither a journal nor a record needs it.

    Args:
        ports: what to act through; the server is the one that is written to.
        side: the backup.
        request: what was asked for.
    """

    def __init__(self, ports: Ports, side: BackupSide, request: RecoverRequest) -> None:
        self._ports = ports
        self._side = side
        self._request = request
        self._id = f"{backup_id_at(ports.clock.now())}-{ports.token()[:8]}"
        self._file = PointsFile(ports.directory.root, self._id)

    # Survey and plan

    def plan(self) -> RecoverPlan:
        """Choose the points and decide about each; nothing on the server changes.

        Raises:
            CollectionMissing: a collection is missing in the backup or on the server.
            OperationFailed: an id is not in the backup.
            Incompatible: vectors do not fit the live collection, or hold what a server does not take.
            IntegrityFailed: the backup is damaged.
        """
        refuse_open_journal(self._ports)
        for source in self._request.rename:
            self._side.entry(CollectionName(source))
        chosen: dict[str, Chosen] = {}
        with self._file.begin() as file:
            for source, keys in self._selected():
                target = self._target(source)
                if target in chosen:
                    raise UsageError(
                        f"two collections would go into {target!r}",
                        why=f"{chosen[target].source} and {source}",
                        advice="Recover one after the other, with --collection.",
                    )
                self._require_fit(source, target)
                part = Chosen(source)
                for batch in self._fates(source, target, keys):
                    for _, fate in batch:
                        part.count(fate)
                    file.write(b"".join(PointsFile.line(mend) for mend, _ in batch if mend is not None))
                chosen[target] = part
        return RecoverPlan(self._id, self._side.label, chosen, file.sha256)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._id not in needed_points(self._ports):
            self._file.remove()

    def _target(self, source: CollectionName) -> CollectionName:
        target = CollectionName(self._request.rename.get(source, source))
        if not self._ports.server.exists(target):
            raise CollectionMissing(
                f"the server has no collection {target!r}",
                why="points are recovered into collections that exist",
                advice=f"`qdrant-backup restore {self._side.name} --collection NAME` brings a whole collection back.",
            )
        return target

    def _require_fit(self, source: CollectionName, target: CollectionName) -> None:
        info = self._ports.server.collection(target)
        config, _ = self._side.schema(source)
        unfit = [
            str(each)
            for each in differences(config, info.config)
            if each.blocking and each.field != "params.shard_number"
        ]
        if unfit:
            raise Incompatible(
                f"points of {source!r} do not fit into {target!r}",
                why="; ".join(unfit),
                advice="Recover into a collection of the same vectors: --rename, or restore the collection whole.",
                collection=target,
            )
        if _mapping(info.config, "params").get("sharding_method") == "custom":
            raise Incompatible(
                f"points cannot be recovered into {target!r}",
                why="its shards have keys of yours, and a backup does not say which key a point had",
                advice=f"Restore it whole: `qdrant-backup restore {self._side.name} --collection {source}`.",
                collection=target,
            )

    def _selected(self) -> Iterator[tuple[CollectionName, Iterator[_Pick]]]:
        """The collections and the points chosen in each, from the backup alone or beside what is live."""
        request = self._request
        if request.wanted is not None:
            for name, ids in request.wanted.items():
                yield CollectionName(name), self._present(CollectionName(name), ids)
            return
        names = [CollectionName(name) for name in request.collections] or list(self._side.collections)
        for name in names:
            self._side.entry(name)
        if request.ids:
            yield from self._by_ids(names)
            return
        if request.question is not None:
            yield from self._answering(names, request.question)
            return
        for name in names:
            yield name, self._missing_on_server(name) if request.deleted else self._matching(name)

    def _present(self, name: CollectionName, ids: Iterable[int | str]) -> Iterator[_Pick]:
        reader = self._side.digest(name)
        for point_id in ids:
            record = reader.find(_key(point_id))
            if record is None:
                raise self._unknown(point_id)
            yield point_id, record

    def _by_ids(self, names: Sequence[CollectionName]) -> Iterator[tuple[CollectionName, Iterator[_Pick]]]:
        left = set(self._request.ids)
        found: dict[CollectionName, list[_Pick]] = {}
        for name in names:
            reader = self._side.digest(name)
            looked_up = [(point_id, reader.find(_key(point_id))) for point_id in self._request.ids]
            found[name] = [(point_id, record) for point_id, record in looked_up if record is not None]
            left -= {point_id for point_id, _ in found[name]}
        for point_id in sorted(left, key=str):
            raise self._unknown(point_id)
        yield from ((name, iter(picks)) for name, picks in found.items() if picks)

    def _answering(
        self, names: Sequence[CollectionName], question: Question
    ) -> Iterator[tuple[CollectionName, Iterator[_Pick]]]:
        hits = search(self._side.searchable(names), question, self._ports.progress)
        for name in names:
            ids = [hit.id for hit in hits if hit.collection == name]
            if ids:
                yield name, self._present(name, ids)

    def _unknown(self, point_id: int | str) -> OperationFailed:
        return OperationFailed(
            f"backup {self._side.name} has no point {point_id}",
            why="no collection that was looked through has it",
            advice=f"`qdrant-backup history {point_id}` shows which backups have it.",
        )

    def _missing_on_server(self, name: CollectionName) -> Iterator[_Pick]:
        """The backup's points that the server has not, by a merge of two sorted runs."""
        target = self._target(name)
        pages = self._ports.server.scroll(target, limit=_PAGE, with_payload=False)
        live = (_key(point["id"]) for page in pages for point in page)
        here = next(live, None)
        last = b""
        for record in self._side.digest(name).records():
            key = record[:KEY_SIZE]
            while here is not None and here < key:
                here = next(live, None)
            if key not in {here, last}:
                yield point_id_of(key), record
            last = key

    def _matching(self, name: CollectionName) -> Iterator[_Pick]:
        pages = self._side.points(name).matching(name, self._request.filters, limit=_PAGE, with_payload=False)
        return self._present(name, (point["id"] for page in pages for point in page))

    def _fates(
        self, source: CollectionName, target: CollectionName, picks: Iterator[_Pick]
    ) -> Iterator[list[tuple[Mend | None, Fate]]]:
        names = self._side.digest(source).summary.vector_names
        for old, live in one_ahead(self._looked_up(source, target, picks), "look at the chosen points"):
            yield [self._fate(target, point, record, names, live.get(point.id)) for point, record in old]

    def _looked_up(
        self, source: CollectionName, target: CollectionName, picks: Iterator[_Pick]
    ) -> Iterator[tuple[list[tuple[RawPoint, bytes]], _Points]]:
        """The chosen points as the backup has them, with their records, and as the server has them, some at a time."""
        for old in one_ahead(self._backed_up(source, picks), "read the chosen points"):
            found = self._ports.server.retrieve(target, [point.id for point, _ in old], with_vector=True)
            yield old, {one["id"]: one for one in found}

    def _backed_up(self, source: CollectionName, picks: Iterator[_Pick]) -> Iterator[list[tuple[RawPoint, bytes]]]:
        """The chosen points as the backup has them, with their records, some at a time."""
        while batch := dict(itertools.islice(picks, _BATCH_IDS)):
            old = {point.id: point for point in self._side.points(source).retrieve_raw(source, list(batch))}
            for point_id in batch:
                if point_id not in old:
                    raise IntegrityFailed(
                        f"point {point_id} of {source!r} cannot be read from the backup",
                        why="its digest has it, and its snapshot has not",
                    )
            yield [(old[point_id], record) for point_id, record in batch.items()]

    def _fate(
        self,
        target: CollectionName,
        point: RawPoint,
        record: bytes,
        vector_names: Sequence[str],
        live: dict[str, Any] | None,
    ) -> tuple[Mend | None, Fate]:
        stored = point.payload or {}
        payload = {**stored, **self._request.set_fields}
        # The engine's numbers are the exact values of the float32 already, as `exact_point` would make them.
        wanted = {"id": point.id, "payload": payload, "vector": _writable_vector(point)}
        content = content_of_record(payload, record, vector_names)
        content_here = content_of_point(live)
        fate, why = self._decide(stored, live, same=content == content_here)
        shown = Fate(point.id, fate, why, excerpt(stored))
        if fate == KEPT:
            return None, shown
        fault = unwritable(live) if live is not None else ""
        if fault:
            raise Incompatible(
                f"point {point.id} cannot be overwritten",
                why=f"{fault} holds NaN or infinity on the server, which could not be put back",
                advice="Leave it out: choose the others by --ids or --filter.",
            )
        before = None if live is None or content_here is None else state_of(exact_point(live), content_here)
        return Mend(target, point.id, before, state_of(wanted, content)), shown

    def _decide(self, payload: Mapping[str, Any], live: Mapping[str, Any] | None, *, same: bool) -> tuple[str, str]:
        if live is None:
            return ADDED, "it is not there"
        if same:
            return KEPT, "it is the same"
        if self._request.policy == OVERWRITE:
            return OVERWRITTEN, "it differs"
        if self._request.policy == MISSING_ONLY:
            return KEPT, "it is there and differs (missing-only)"
        field = self._request.newer_field
        old, new = payload.get(field), _mapping(live, "payload").get(field)
        if old is None or new is None:
            return KEPT, f"{field!r} is missing on one side"
        if _is_newer(old, new):
            return OVERWRITTEN, f"{field!r} is newer in the backup"
        return KEPT, f"{field!r} is not newer in the backup"

    # Run

    def carry_out(self, plan: RecoverPlan) -> Done:
        """Write the planned points; all of them, or none.

        Raises:
            Locked: another run is at work.
            RefusedForSafety: a restore has not ended.
            QdrantBackupError: it failed, and everything was put back.
            CollectionFailed: it failed, and could not be put back; `undo` does.
        """
        ports = self._ports
        if not plan.writes:
            return Done({})
        with DirectoryLock(ports.directory.root, ports.clock, "recover"):
            sweep_points(ports)
            return run(ports, JournalFile(ports.directory.root, ports.clock).begin(self._journal(plan)))

    def _journal(self, plan: RecoverPlan) -> Journal:
        backup = self._side.backup
        targets = tuple(
            Target(
                collection=CollectionName(name),
                source=CollectionName(chosen.source),
                prior=Prior(existed=True),
                state=TargetState.APPLYING,
            )
            for name, chosen in plan.collections.items()
        )
        return Journal(
            restore_id=plan.recover_id,
            kind=RestoreKind.RECOVER,
            server=who_answers(self._ports),
            backup_id=backup.backup_id,
            backup_path=str(backup.path),
            manifest_sha256=backup.manifest_sha256,
            started_at=self._ports.clock.now(),
            targets=targets,
            options={"points_sha256": plan.points_sha256},
        )


def _writable_vector(point: RawPoint) -> msgspec.Raw:
    """The point's vectors as they are sent; they are only read where something in them may be no number."""
    if b"null" not in bytes(point.vector):
        return point.vector
    read: Any = msgspec.json.decode(point.vector)
    if fault := unwritable({"vector": read}):
        raise Incompatible(
            f"point {point.id} cannot be recovered",
            why=f"{fault} holds NaN or infinity, which no server takes",
            advice="Leave it out: choose the others by --ids or --filter.",
        )
    return point.vector if read else msgspec.Raw(b"{}")  # A vector has that in its name, or there is none.


def _mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    return cast("dict[str, Any]", values.get(key) or {})


def _key(point_id: int | str) -> bytes:
    try:
        return point_key(point_id)
    except ValueError:
        raise UsageError(f"{point_id!r} is no point id", why="that is a number from 0 to 2^64-1, or a UUID") from None


def _is_newer(old: Any, new: Any) -> bool:
    """Whether the first value is greater; numbers with numbers, texts (ISO dates among them) with texts."""
    numbers = (int, float)
    if isinstance(old, numbers) and isinstance(new, numbers):
        return old > new
    return isinstance(old, str) and isinstance(new, str) and old > new
