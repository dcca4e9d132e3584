"""Aliases, moved one at a time and read back: a batch that fails half way loses the alias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.errors import CollectionFailed, RefusedForSafety
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.events import AliasRestored

if TYPE_CHECKING:
    from qdrant_backup.operations.restore.session import Session

__all__ = ["alias_problems", "move_aliases", "put_aliases_back"]


def _point(session: Session, alias: str, collection: CollectionName) -> None:
    server = session.ports.server
    if server.exists(CollectionName(alias)):
        raise RefusedForSafety(
            f"The alias {alias} cannot be set",
            why="a collection of that name exists on the server",
            advice="Rename or remove that collection, or restore without this alias's collection.",
        )
    server.create_alias(alias, collection)
    if server.aliases().get(alias) != collection:
        raise CollectionFailed(
            f"The alias {alias} does not point at {collection}",
            why="the server said it does, and lists something else",
            collection=collection,
        )


def _owner(session: Session, collection: str) -> str:
    """The target whose steps tell of an alias: its collection, where that is a target."""
    targets = [target.collection for target in session.journal.targets]
    return collection if collection in targets else targets[0]


def move_aliases(session: Session) -> None:
    """Point each planned alias at its collection; every target has been verified before.

    Raises:
        RefusedForSafety: a collection of that name has appeared.
        CollectionFailed: the server does not show it afterwards.
    """
    for alias, wanted in session.journal.aliases_planned.items():
        collection = CollectionName(wanted)
        if session.ports.server.aliases().get(alias) != collection:
            with session.step(_owner(session, collection), "move_alias", detail={"alias": alias, "to": collection}):
                _point(session, alias, collection)
        if alias not in session.journal.aliases_moved:
            session.update(aliases_moved=(*session.journal.aliases_moved, alias))
        session.tell(AliasRestored(alias, collection))


def _ours(session: Session) -> list[str]:
    """The aliases that this restore may have changed: planned ones, and those of collections it may have dropped."""
    journal = session.journal
    targets = {target.collection for target in journal.targets}
    hit = {alias for alias, collection in journal.aliases_before.items() if collection in targets}
    return sorted(hit | journal.aliases_planned.keys())


def alias_problems(session: Session) -> dict[str, str]:
    """Aliases that are not as they were before, and why they are left so."""
    problems: dict[str, str] = {}
    before, planned, now = (
        session.journal.aliases_before,
        session.journal.aliases_planned,
        session.ports.server.aliases(),
    )
    for alias in _ours(session):
        wanted, found = before.get(alias), now.get(alias)
        if wanted == found:
            continue
        if found is not None and found != planned.get(alias):
            problems[alias] = f"somebody pointed it at {found} meanwhile"
        elif wanted is not None and not session.ports.server.exists(CollectionName(wanted)):
            problems[alias] = f"its collection {wanted} is not there"
        else:
            problems[alias] = ""
    return problems


def put_aliases_back(session: Session) -> tuple[str, ...]:
    """Make the aliases what they were before the restore; others are left alone.

    Returns:
        Sentences about those that could not, or must not, be put back.
    """
    before = session.journal.aliases_before
    notes: list[str] = []
    for alias, why in alias_problems(session).items():
        if why:
            notes.append(f"the alias {alias} was left as it is: {why}")
            continue
        wanted = before.get(alias)
        with session.step(_owner(session, wanted or ""), "alias_back", detail={"alias": alias, "to": wanted}):
            if wanted is None:
                session.ports.server.delete_alias(alias)
            else:
                _point(session, alias, CollectionName(wanted))
    return tuple(notes)
