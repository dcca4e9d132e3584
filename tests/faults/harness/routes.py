"""One case for each route of a command. What a command asks is recorded, so that a new route has its cases by itself."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from faults.harness.case import Case
from faults.harness.play import play
from faults.harness.scene import Scene
from faults.harness.watched import Watched
from support.relay import Action, Rule
from support.servers import RunningServer

__all__ = ["Route", "Sweep", "expected", "play_routes", "routes_of"]

_MADE = re.compile(r"(snapshots/.+)-\d+-\d{4}(?:-\d\d){5}\.snapshot")
_RANDOM = re.compile(r"qdrant-backup-[0-9a-f]{16}")
_CHECKSUM = re.compile(r"checksum=[0-9a-f]{64}")
_COLLECTION = re.compile(r"/collections/(?!aliases$)[^/?]+|(?<=/snapshots/)[^/]+(?=-\*\.snapshot)")


@dataclasses.dataclass(frozen=True)
class Route:
    """A request that a command makes.

    Attributes:
        match: `METHOD path-glob`, with the parts that differ from run to run left open.
        count: how often an undisturbed run makes it.
    """

    match: str
    count: int


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What each route of a command meets in its turn.

    Attributes:
        case: the command, its world, its settings, and what must hold after each run.
        action: what happens to a route's request; another one in the server's stead, or on its way.
        exits: the exit codes that are right, by route globs; the first that fits counts, and `case.exits` for the others.
        times: how many requests in a row; None: all that follow.
        late: strike at the route's last request of an undisturbed run in place of its first.
        only: globs of the routes that are meant; none: all.
        after: what else must hold of a run: raises AssertionError.
    """

    case: Case
    action: Callable[[Route], Action]
    exits: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    times: int | None = None
    late: bool = False
    only: Sequence[str] = ()
    after: Callable[[Watched], None] = lambda _: None


def routes_of(case: Case, server: RunningServer, directory: Path) -> list[Route]:
    """What an undisturbed run of the case's command asks the server; one of the collections stands for all."""
    scene = Scene(server, directory)
    try:
        assert case.world is not None
        case.world(scene)
        relay = scene.through_relay()
        watched = scene.run(dataclasses.replace(case, settings={}, damage=None))
        assert watched.ran.code == 0, watched.ran
        counts = collections.Counter(_open(line) for line in relay.seen)
    finally:
        scene.close()
        server.empty()
    chosen: dict[str, Route] = {}
    for match, count in counts.items():
        template = _COLLECTION.sub("{}", match)
        if template not in chosen or chosen[template].count < count:
            chosen[template] = Route(match, count)
    return list(chosen.values())


def _open(line: str) -> str:
    """The request with everything that chance and the time put into it left open."""
    return _CHECKSUM.sub("checksum=*", _RANDOM.sub("qdrant-backup-*", _MADE.sub(r"\1-*.snapshot", line)))


def expected(sweep: Sweep, route: Route) -> Sequence[int]:
    """The exit codes that are right when this route is struck."""
    for match, codes in sweep.exits.items():
        if fnmatch.fnmatchcase(route.match, match):
            return codes
    return sweep.case.exits


def play_routes(
    sweep: Sweep,
    server: RunningServer,
    directory: Path,
    *,
    seed: int,
    most: int | None = None,
    share: tuple[int, int] = (0, 1),
) -> int:
    """Play the case once for each route, or for `most` of them by chance; fails with everything that went wrong.

    Args:
        share: which part of how many of the routes are meant, so that several processes can divide them.

    Returns:
        How many runs there were.
    """
    found = routes_of(sweep.case, server, directory / "undisturbed")
    found = [one for one in found if not sweep.only or any(fnmatch.fnmatchcase(one.match, glob) for glob in sweep.only)]
    if sweep.late:
        found = [one for one in found if one.count > 1]
    assert found, "no route is meant"
    found = found[share[0] :: share[1]]
    chosen = found if most is None or most >= len(found) else random.Random(seed).sample(found, most)
    wrong: list[str] = []
    for number, route in enumerate(chosen):
        rule = Rule(route.match, sweep.action(route), sweep.times, after=route.count - 1 if sweep.late else 0)
        case = dataclasses.replace(sweep.case, network=(rule,), exits=expected(sweep, route))
        try:
            sweep.after(play(case, server, directory / str(number)))
        except AssertionError as error:
            wrong.append(f"{rule}:\n{error}")
        finally:
            if not server.alive:
                server.restart()
            server.empty()
    assert not wrong, f"{len(wrong)} of {len(chosen)} runs:\n" + "\n\n".join(wrong)
    return len(chosen)
