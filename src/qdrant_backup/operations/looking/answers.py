"""`history --query`: which points answered a question then, and which do now; backup by backup, oldest first.

A collection whose content two backups share is searched once: its digest says so. One backup is open at a time, so that
the cache stays as large as it may be. A backup that has not the collection, or one that cannot be searched, says nothing
of it: what answered before is taken to answer still.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdrant_backup.digest import point_key
from qdrant_backup.errors import ContentUnreadable, IntegrityFailed, OperationFailed, UsageError
from qdrant_backup.model import CollectionName, utc_text
from qdrant_backup.operations.events import Warned
from qdrant_backup.operations.looking.diff import fields_changed
from qdrant_backup.operations.looking.history import require_known
from qdrant_backup.operations.looking.opening import OpenedCollection, Searchable, open_backups
from qdrant_backup.operations.looking.search import by_distance, search
from qdrant_backup.operations.looking.sides import LIVE, Sides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from qdrant_backup.manifest import CollectionEntry
    from qdrant_backup.operations.looking.search import Hit, Question
    from qdrant_backup.operations.looking.sides import BackupSide
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.storage.stored import StoredBackup

__all__ = ["AnswerEvent", "Answers", "Moment", "answers", "answers_json"]


@dataclasses.dataclass(frozen=True)
class Moment:
    """A backup, by its id, or the server; and when that was."""

    name: str
    at: datetime

    @property
    def is_live(self) -> bool:
        """Whether it is the server."""
        return self.name == LIVE


@dataclasses.dataclass(frozen=True)
class AnswerEvent:
    """What became of an answer between two moments.

    Attributes:
        moment: the one that shows it first.
        what: `entered`, `changed` (its payload; its rank too, perhaps), `moved` (to another rank), `left` (others come
            before it, or it does not match any more) or `gone` (it is no more).
        hit: the answer; for `left` and `gone` as it was before.
        before: its rank in the moment before, from 1; None where it was no answer.
        after: its rank now.
        fields: payload field to {before, after}, of those that changed.
    """

    moment: Moment
    what: str
    hit: Hit
    before: int | None
    after: int | None
    fields: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict[str, Any])


@dataclasses.dataclass(frozen=True)
class Answers:
    """What became of the answers, and what they are at the end.

    Attributes:
        moments: those that were asked, oldest first.
        events: by moment; those of the first are its answers, entering.
        now: the answers of the last moment, the best first.
    """

    moments: tuple[Moment, ...]
    events: tuple[AnswerEvent, ...]
    now: tuple[Hit, ...]


@dataclasses.dataclass(frozen=True)
class _Ranked:
    """The answers of one collection, the best first; of distances the smaller is the better."""

    hits: tuple[Hit, ...] = ()
    smaller_first: bool = False

    def scored(self) -> Iterator[tuple[float, Hit]]:
        """The hits with what they are sorted by."""
        for hit in self.hits:
            score = hit.score or 0.0
            yield (score if self.smaller_first else -score), hit


def answers(ports: Ports, question: Question, collections: Sequence[str] = (), *, live: bool = False) -> Answers:
    """Ask all backups the same question, and the server too where `live` is set.

    Raises:
        CollectionMissing: no backup has a collection of that name.
        OperationFailed: there is no backup, or none that could be asked.
        UsageError: the filter is refused, or the question's vector fits no collection.
        ConnectionFailed, AccessDenied: the server is wanted and does not answer.
    """
    backups = sorted(ports.directory.entries(), key=lambda backup: backup.order)
    names = require_known(backups, collections)
    asking = _Asking(ports, question, tuple(names))
    on_server = frozenset(ports.server.collections() if live else ())  # First, since asking all backups takes time.
    moments: list[Moment] = []
    events: list[AnswerEvent] = []
    now: list[Hit] = []
    for backup in backups:
        if asking.ask(backup):
            moments.append(Moment(str(backup.backup_id), backup.finished_at))
            found = asking.best()
            with Sides(ports) as sides:
                events += _changes(moments[-1], now, found, _in_backup(sides.backup(backup)))
            now = found
    if live:
        asking.ask_live(backups, on_server)
        moments.append(Moment(LIVE, ports.clock.now()))
        found = asking.best()
        events += _changes(moments[-1], now, found, _on_server(ports, on_server))
        now = found
    if not moments:
        raise asking.refusal or OperationFailed(
            "no backup can be asked",
            why=f"{len(backups)} backup(s) were looked at in {ports.directory.root}",
            advice="Make one with `qdrant-backup backup`, or name the backup directory with --output.",
        )
    return Answers(tuple(moments), tuple(events), tuple(now))


class _Asking:
    """Asks one moment after the other, and remembers what each collection answered.

    Attributes:
        refusal: why a collection could not be asked, the last time that happened.
    """

    def __init__(self, ports: Ports, question: Question, names: tuple[str, ...]) -> None:
        self.refusal: UsageError | None = None
        self._ports = ports
        self._question = question
        self._names = names
        self._known: dict[tuple[str, str], _Ranked] = {}
        self._latest: dict[str, _Ranked] = {}
        self._said: set[str] = set()

    def best(self) -> list[Hit]:
        """The answers as of what was asked last, over all collections."""
        keyed = [pair for name in sorted(self._latest) for pair in self._latest[name].scored()]
        return [hit for _, hit in sorted(keyed, key=lambda pair: pair[0])[: self._question.limit]]

    def ask(self, backup: StoredBackup) -> bool:
        """Ask a backup; False when nothing in it could be asked."""
        held = [entry for name, entry in sorted(backup.manifest.collections.items()) if name in self._names]
        readable = [entry for entry in held if not entry.unverified]
        for entry in held:
            if entry.unverified:
                self._say(f"{entry.name} of {backup.backup_id} is left out: {entry.unverified}")
        unknown = [entry for entry in readable if _key(entry) not in self._known]
        try:
            answered = self._opened(backup, unknown) if unknown else {}
        except (ContentUnreadable, IntegrityFailed) as error:
            self._say(f"{backup.backup_id} is left out: {error}")
            return False
        for entry in readable:
            found = self._known.get(_key(entry), answered.get(entry.name))
            if found is not None:
                self._latest[entry.name] = found
                answered[entry.name] = found
        return bool(answered)

    def _opened(self, backup: StoredBackup, entries: Sequence[CollectionEntry]) -> dict[str, _Ranked]:
        """What the collections that were not asked yet answer; they are known from now on, where that can be."""
        found: dict[str, _Ranked] = {}
        with open_backups(self._ports, [(backup, [entry.name for entry in entries])]) as opened:
            for collection in opened.collections:
                ranked = self._ranked(Searchable(opened.server, (collection,)), f"of {backup.backup_id}")
                if ranked is not None:
                    found[collection.name] = ranked
                    if collection.entry.content:
                        self._known[_key(collection.entry)] = ranked
        return found

    def _ranked(self, one: Searchable, where: str) -> _Ranked | None:
        """What one collection answers; None where the question does not fit it, such as a vector of another size."""
        try:
            hits = search(one, self._question, self._ports.progress)
            return _Ranked(tuple(hits), by_distance(one, self._question) if self._question.vector else False)
        except UsageError as error:
            self.refusal = error
            self._say(f"{one.collections[0].name} {where} is left out: {error}")
            return None

    def ask_live(self, backups: Sequence[StoredBackup], there: frozenset[CollectionName]) -> None:
        """Ask the server's collections: by words through an index that is made for this once, by a vector itself."""
        self._latest = {name: ranked for name, ranked in self._latest.items() if name in there}
        for name in sorted(there.intersection(self._names)):
            last = next(backup for backup in reversed(backups) if name in backup.manifest.collections)
            with tempfile.TemporaryDirectory(prefix="qdrant-backup-words-") as directory:
                entry = last.manifest.collections[name]
                collection = OpenedCollection(name, entry, last, Path(directory))
                ranked = self._ranked(Searchable(self._ports.server, (collection,)), "on the server")
            if ranked is not None:
                self._latest[name] = ranked

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._ports.tell(Warned(text))


def _key(entry: CollectionEntry) -> tuple[str, str]:
    """What collections share whose answers are the same; where nobody knows the content, none of them is known."""
    return entry.name, entry.content


def _in_backup(side: BackupSide) -> Callable[[Hit], bool]:
    """Whether a former answer is still in a backup; a collection that the backup has not says nothing."""
    digest = functools.cache(side.digest)

    def look(hit: Hit) -> bool:
        name = CollectionName(hit.collection)
        return name not in side.collections or digest(name).find(point_key(hit.id)) is not None

    return look


def _on_server(ports: Ports, there: frozenset[CollectionName]) -> Callable[[Hit], bool]:
    """Whether a former answer is still on the server, which has these collections."""

    def look(hit: Hit) -> bool:
        name = CollectionName(hit.collection)
        return name in there and bool(ports.server.retrieve(name, [hit.id], with_payload=False))

    return look


def _changes(
    moment: Moment, before: Sequence[Hit], after: Sequence[Hit], is_there: Callable[[Hit], bool]
) -> Iterator[AnswerEvent]:
    """What became of each answer: first those of now in their order, then those that are none any more."""
    old = {(hit.collection, hit.id): (rank, hit) for rank, hit in enumerate(before, 1)}
    for rank, hit in enumerate(after, 1):
        was, former = old.pop((hit.collection, hit.id), (None, None))
        if former is None:
            yield AnswerEvent(moment, "entered", hit, None, rank)
            continue
        fields = fields_changed(former.payload, hit.payload)
        if fields or was != rank:
            yield AnswerEvent(moment, "changed" if fields else "moved", hit, was, rank, fields)
    for was, hit in old.values():
        yield AnswerEvent(moment, "left" if is_there(hit) else "gone", hit, was, None)


def answers_json(told: Answers) -> list[dict[str, Any]]:
    """`history --query --json`; `docs/json.md` holds the schema."""
    return [
        {
            "backup": event.moment.name,
            "finished_at": utc_text(event.moment.at),
            "collection": event.hit.collection,
            "id": event.hit.id,
            "event": event.what,
            "changes": {"rank": _rank_json(event), "fields": dict(event.fields)},
            "payload": event.hit.payload,
        }
        for event in told.events
    ]


def _rank_json(event: AnswerEvent) -> dict[str, int]:
    both = {"before": event.before, "after": event.after}
    return {side: rank for side, rank in both.items() if rank is not None and event.before != event.after}
