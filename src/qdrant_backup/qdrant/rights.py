"""What a key may do, found out before anything begins and without touching anything (asked of 1.18.3 and 1.19.0).

A key that may is refused for another reason (404: no such snapshot; 400: no form); one that may not gets 401 or 403.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qdrant_backup.qdrant.answers import GATEWAY, refusal
from qdrant_backup.qdrant.base import ALIASES, READ, RESTORE, SNAPSHOT
from qdrant_backup.qdrant.calls import LARGE_BYTES, Call, collection_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qdrant_backup.model import CollectionName
    from qdrant_backup.qdrant.http import Http

__all__ = ["NEEDS", "probe"]

NEEDS = ("read", "snapshot", "restore", "aliases")
"""What can be asked for, from the least to the most."""

_NO_SNAPSHOT = "qdrant-backup-probe-of-a-snapshot-that-cannot-exist.snapshot"
_DENIED = frozenset({401, 403})
_REDIRECTS = range(300, 400)


def probe(http: Http, names: Sequence[CollectionName], needs: Iterable[str]) -> None:
    """Ask for each right that is needed, in the order of `NEEDS`.

    Args:
        http: the server.
        names: the collections that will be worked on; without any, a name that cannot exist is probed.
        needs: any of `read`, `snapshot`, `restore`, `aliases`.

    Raises:
        AccessDenied: for the first right that is missing, named with what was attempted.
        NotQdrant: something else answered.
    """
    wanted = set(needs)
    for need in NEEDS:
        if need in wanted:
            for call in _probes(need, names):
                _ask(http, call)


def _probes(need: str, names: Sequence[CollectionName]) -> Iterator[Call]:
    if need == "read":
        yield Call.get("/collections", "list the collections", right=READ, limit_bytes=LARGE_BYTES)
        for name in names:
            yield Call.get(collection_path(name), f"read the collection {name!r}", right=READ)
    elif need == "snapshot":
        for name in names or ("*",):
            path = collection_path(name, "snapshots", _NO_SNAPSHOT)
            yield Call("DELETE", path, f"find out whether snapshots of {name!r} are allowed", SNAPSHOT)
    elif need == "restore":
        for name in names or ("*",):
            path = collection_path(name, "snapshots", "upload")
            yield Call("POST", path, f"find out whether restoring {name!r} is allowed", RESTORE)
    else:
        call = Call.change(
            "POST", "/collections/aliases", "find out whether aliases are allowed", ALIASES, {"actions": []}
        )
        yield call


def _ask(http: Http, call: Call) -> None:
    # Nothing is changed by a probe, so it may be repeated like any read.
    harmless = dataclasses.replace(call, repeatable=True)
    answer = http.any_answer(harmless)
    if answer.status in _DENIED or answer.status in _REDIRECTS or answer.status in GATEWAY or answer.is_page:
        raise refusal(answer, harmless, http.target)
