"""What a target must be after its data was changed: whole, indexed, configured, and with exactly the right points.

Counts and scrolls mislead (a collection that prevents unoptimised reads shows 400 of 2,000 points), so content is judged
by digesting a fresh snapshot of the target with the engine that digested the backup.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from qdrant_backup.errors import CollectionFailed, ContentUnreadable, QdrantBackupError
from qdrant_backup.operations.capture import content_of
from qdrant_backup.operations.restore.differences import FAN_OUT, index_changes, normal_config
from qdrant_backup.operations.restore.live import scratch_file
from qdrant_backup.operations.restore.source import differing_points

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qdrant_backup.model import CollectionName, DigestSummary
    from qdrant_backup.operations.ports import Ports
    from qdrant_backup.operations.restore.session import Session
    from qdrant_backup.operations.restore.source import Archive

__all__ = ["Judged", "judge", "mend_indexes", "require_config", "require_content", "same_config"]


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a collection holds now; `content` is empty where nobody can say, and `unverified` says why."""

    content: str = ""
    points: int | None = None
    unverified: str = ""

    @classmethod
    def of(cls, summary: DigestSummary) -> Judged:
        """What a digest says."""
        return cls(summary.content, summary.points)


def judge(ports: Ports, name: CollectionName) -> Judged:
    """What a collection holds now. A broken one, or one that cannot be opened, is unverified rather than an error."""
    with scratch_file(ports) as digest:
        try:
            return Judged.of(content_of(ports, name, digest).summary)
        except ContentUnreadable as error:
            return Judged(unverified=error.why or error.what)
        except QdrantBackupError as error:
            return Judged(unverified=str(error))


def require_content(
    ports: Ports, name: CollectionName, archive: Archive, *, excuse: Callable[[], bool] = lambda: False
) -> Judged:
    """The target holds exactly the archive's points; where the engine cannot judge one of them, it says so instead.

    Args:
        ports: what to act through.
        name: the target.
        archive: what it must hold.
        excuse: asked when it holds something else; True says that somebody was allowed to write meanwhile.

    Raises:
        CollectionFailed: other points, and how many.
        QdrantBackupError: the target cannot be copied out.
    """
    with scratch_file(ports) as digest:
        try:
            found = content_of(ports, name, digest).summary
        except ContentUnreadable as error:
            return Judged(unverified=error.why or error.what)
        if not archive.content:
            return dataclasses.replace(Judged.of(found), unverified=archive.unverified or "the backup has no digest")
        if found.content == archive.content:
            return Judged.of(found)
        if excuse():
            return dataclasses.replace(Judged.of(found), unverified="somebody wrote to it while it was verified")
        differing: int | None = None
        with contextlib.suppress(QdrantBackupError):
            differing = differing_points(archive, digest)
    how_many = "" if differing is None else f"; {differing} points differ"
    raise CollectionFailed(
        f"{name} does not hold what the backup holds",
        why=f"{found.points} points are there, the backup has {archive.records}{how_many}",
        collection=name,
    )


def mend_indexes(
    session: Session,
    name: CollectionName,
    wanted: Mapping[str, Any],
    *,
    known: Mapping[str, Any] | None = None,
    exactly: bool,
) -> None:
    """Create the payload indexes that are missing or differ, and see that they are there.

    An upload brings indexes in with the segments, and the server shows them although the collection does not know them:
    segments made later would lack them. So what the collection did not know is created, whatever is shown.

    Args:
        session: the run.
        name: the collection.
        wanted: the payload schema to have.
        known: the payload schema that the collection itself has; what it shows when left out.
        exactly: remove indexes that are not wanted as well.

    Raises:
        CollectionFailed: the server does not have them afterwards.
    """
    server = session.ports.server
    shown = index_changes(wanted, server.collection(name).payload_schema)
    own = shown if known is None else index_changes(wanted, known)
    foreign = sorted({*shown.foreign, *own.foreign}) if exactly else []
    different = {**shown.different, **own.different}
    missing = {**shown.missing, **own.missing, **different}
    if not missing and not foreign:
        return
    with session.step(name, "indexes", detail={"missing": sorted(missing), "foreign": foreign}):
        for field in (*foreign, *different):
            server.delete_payload_index(name, field)
        for field, definition in missing.items():
            server.create_payload_index(name, field, definition)
    left = index_changes(wanted, server.collection(name).payload_schema)
    if not left.wanted_are_there or (exactly and left.foreign):
        wrong = sorted({*left.missing, *left.different, *(left.foreign if exactly else ())})
        raise CollectionFailed(
            f"{name} does not have the payload indexes it must have",
            why=f"{', '.join(wrong)}: the server did not take them",
            collection=name,
        )


def same_config(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether two raw configs say the same."""
    return normal_config(wanted) == normal_config(found)


def _without_fan_out(config: Mapping[str, Any]) -> dict[str, Any]:
    normal = normal_config(config)
    params = {key: value for key, value in normal.get("params", {}).items() if key not in FAN_OUT}
    return {**normal, "params": params}


def require_config(session: Session, name: CollectionName, wanted: Mapping[str, Any]) -> None:
    """The target has exactly this config; the two parameters that no snapshot brings back are set.

    Raises:
        CollectionFailed: it has another one.
    """
    server = session.ports.server
    found = server.collection(name).config
    if same_config(wanted, found):
        return
    if _without_fan_out(wanted) == _without_fan_out(found):
        params: dict[str, Any] = dict(wanted.get("params", {}))
        with session.step(name, "config"):
            server.update_collection(name, {"params": {key: params.get(key) for key in FAN_OUT}})
        found = server.collection(name).config
        if same_config(wanted, found):
            return
    mine, theirs = normal_config(wanted), normal_config(found)
    wrong = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
    raise CollectionFailed(
        f"{name} does not have the config it must have", why=f"other values in {', '.join(wrong)}", collection=name
    )
