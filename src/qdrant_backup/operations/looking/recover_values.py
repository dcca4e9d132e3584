"""What a recovery is asked for, and what it says: the values of `recover.py`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec

from qdrant_backup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qdrant_backup.model import Checksum
    from qdrant_backup.operations.looking.search import Question
    from qdrant_backup.operations.mending.carry_out import Done

__all__ = [
    "ADDED",
    "KEEP_NEWER",
    "KEPT",
    "MISSING_ONLY",
    "OVERWRITE",
    "OVERWRITTEN",
    "Chosen",
    "Fate",
    "RecoverPlan",
    "RecoverRequest",
    "chosen_in",
    "excerpt",
    "recover_json",
]

MISSING_ONLY, OVERWRITE, KEEP_NEWER = "missing-only", "overwrite", "keep-newer"
ADDED, OVERWRITTEN, KEPT = "added", "overwritten", "kept"
_MOST_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class RecoverRequest:
    """Which points come back, and what happens where one is there.

    Attributes:
        collections: the backup's collections that are looked through; all when empty.
        ids: these points.
        wanted: points by collection, as a diff or a search gave them; None for neither.
        question: the points of the backup that answer it best; None for no search.
        filters: Qdrant's filter, for the points of the backup that match it; None for no filter.
        deleted: the points of the backup that the server has no more.
        rename: collection of the backup to the live collection it goes into.
        policy: `missing-only`, `overwrite` or `keep-newer`.
        newer_field: the payload field that `keep-newer` compares.
        set_fields: payload fields that every recovered point gets.
    """

    collections: tuple[str, ...] = ()
    ids: tuple[int | str, ...] = ()
    wanted: Mapping[str, Sequence[int | str]] | None = None
    question: Question | None = None
    filters: Mapping[str, Any] | None = None
    deleted: bool = False
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    policy: str = MISSING_ONLY
    newer_field: str = ""
    set_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])


@dataclasses.dataclass(frozen=True)
class Fate:
    """What becomes of one point: `added`, `overwritten` or `kept`, why, and the beginning of its text."""

    id: int | str
    fate: str
    why: str
    excerpt: str = ""


@dataclasses.dataclass
class Chosen:
    """One live collection's part of the plan; `shown` are its first points."""

    source: str
    added: int = 0
    overwritten: int = 0
    kept: int = 0
    shown: list[Fate] = dataclasses.field(default_factory=list[Fate])

    def count(self, fate: Fate) -> None:
        """One point more."""
        self.added += fate.fate == ADDED
        self.overwritten += fate.fate == OVERWRITTEN
        self.kept += fate.fate == KEPT
        if len(self.shown) < _MOST_SHOWN:
            self.shown.append(fate)


@dataclasses.dataclass(frozen=True)
class RecoverPlan:
    """What would be done, by live collection. `recover_id` names it and its points file; `backup` is for people."""

    recover_id: str
    backup: str
    collections: Mapping[str, Chosen]
    points_sha256: Checksum

    @property
    def writes(self) -> int:
        """How many points would be written."""
        return sum(chosen.added + chosen.overwritten for chosen in self.collections.values())


def chosen_in(text: bytes) -> dict[str, list[int | str]]:
    """The points that a document lists, by collection.

    Args:
        text: the output of `search --json`, or of `diff --json`; of this the points that are missing or different on its
            second side.

    Raises:
        UsageError: it is no such document, or does not list all points.
    """
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
        found = _hits_in(document) if "hits" in document else _changes_in(document)
        return msgspec.convert(found, dict[str, list[int | str]])
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            "standard input is no diff and no search that lists points",
            why=f"{type(error).__name__}: {error}",
            advice="Give it the output of `qdrant-backup diff BACKUP live --json`, without --stat, or of `search --json`.",
        ) from None


def _changes_in(diff: Mapping[str, Any]) -> dict[str, list[int | str]]:
    found: dict[str, list[int | str]] = {}
    for name, one in diff["collections"].items():
        if one["cut"]:
            raise UsageError(
                f"the diff does not list all points of {name!r}",
                why="it was made with --limit",
                advice="Make it again with `diff --json` and no --limit.",
            )
        ids = [point["id"] for point in one["points"] if point["change"] in {"removed", "changed"}]
        if ids:
            found[name] = ids
    return found


def _hits_in(search: Mapping[str, Any]) -> dict[str, list[int | str]]:
    found: dict[str, list[int | str]] = {}
    for hit in search["hits"]:
        found.setdefault(hit["collection"], []).append(hit["id"])
    return found


_TEXT_FIELDS = ("content", "text", "document", "title", "name")
_EXCERPT = 70


def excerpt(payload: Mapping[str, Any]) -> str:
    """The beginning of a point's text, in one line; empty where it has none."""
    texts: Iterable[Any] = (payload.get(field) for field in _TEXT_FIELDS)
    text = next((each for each in texts if isinstance(each, str)), "")
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def recover_json(plan: RecoverPlan, done: Done | None) -> dict[str, Any]:
    """`recover --json`; `docs/json.md` holds the schema."""
    return {
        "recover_id": None if done is None or not plan.writes else plan.recover_id,
        "dry_run": done is None,
        "collections": {
            name: {"added": chosen.added, "overwritten": chosen.overwritten, "kept": chosen.kept}
            for name, chosen in plan.collections.items()
        },
        "changed_meanwhile": [{"collection": name, "id": point_id} for name, point_id in done.kept] if done else [],
    }
