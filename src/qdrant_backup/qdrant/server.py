"""A live Qdrant server as typed calls.

    target = Target.parse("http://localhost:26350", api_key=Secret("..."))
    server = Server(Http(target, clock=SystemClock()))

Any call raises `ConnectionFailed` (no answer), `NotQdrant` (something else answers), `AccessDenied` (401, 403) or
`ServerRefused` (Qdrant's own error, with its `status`). A call that changes something is sent once; when its answer is
lost it raises `Unanswered`, a `ConnectionFailed`: the server may still be at work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_backup.qdrant.collection import CollectionCalls
from qdrant_backup.qdrant.download import Download
from qdrant_backup.qdrant.failures import Unanswered
from qdrant_backup.qdrant.http import Http
from qdrant_backup.qdrant.points import PointCalls
from qdrant_backup.qdrant.queries import QueryCalls
from qdrant_backup.qdrant.rights import probe
from qdrant_backup.qdrant.snapshot import SnapshotCalls
from qdrant_backup.qdrant.target import Target
from qdrant_backup.qdrant.topology import OptimizerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qdrant_backup.model import CollectionName

__all__ = ["Download", "Http", "OptimizerState", "Server", "Target", "Unanswered"]


class Server(SnapshotCalls, CollectionCalls, PointCalls, QueryCalls):
    """Every call there is on one server. Safe to use from several threads.

    Args:
        http: the layer the calls go through; `close()` closes it.
    """

    @property
    def url(self) -> str:
        """The base URL, without any secret in it."""
        return self._http.target.url

    def probe(self, names: Sequence[CollectionName], needs: Iterable[str]) -> None:
        """Whether the key has these rights (`rights.probe`); touches nothing."""
        probe(self._http, names, needs)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
