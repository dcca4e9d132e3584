"""One case from its beginning to its verdict."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from faults.harness.case import Case
from faults.harness.guarantees import CHANGES_SERVER, broken_promises
from faults.harness.injection import injected
from faults.harness.scene import Scene, backup_world, restore_world
from faults.harness.watched import Watched
from support.servers import RunningServer

__all__ = ["play"]


def play(case: Case, server: RunningServer, directory: Path) -> Watched:
    """Build the world, let things go wrong, and fail when a promise did not hold or a fault never happened.

    Returns:
        How the command ended.
    """
    scene = Scene(server, directory)
    try:
        world = case.world or (restore_world if case.run[0] in CHANGES_SERVER else backup_world)
        world(scene)
        if case.damage is not None:
            case.damage(scene)
        before = scene.before()
        _arm(case, scene)
        watched = scene.run(case)
        never = _never_fired(case, scene)
        if case.mend is not None:
            case.mend(scene)
        _disarm(case, scene)
        broken = broken_promises(scene, case, before, watched)
        assert not never, f"faults that never happened: {never}; it ended with {watched.ran}"
        assert not broken, "\n".join([*broken, f"exit {watched.ran.code}", watched.ran.out, watched.ran.err])
        return watched
    finally:
        scene.close()


def _arm(case: Case, scene: Scene) -> None:
    if case.network:
        # Rules count how often they were used: each case has its own.
        scene.through_relay().rules += [dataclasses.replace(rule) for rule in case.network]
    if case.script:
        scene.server.script(*map(dict, case.script))


def _never_fired(case: Case, scene: Scene) -> list[str]:
    """The faults that happened less often than they say; one without a number must happen once."""
    never: list[str] = []
    if scene.relay is not None:
        never += [str(rule) for rule in scene.relay.rules if not rule.done]
    if case.script and scene.server.alive:
        for fault, fired in zip(case.script, scene.server.fired(), strict=True):
            if fired < (fault.get("times", 1) or 1):
                never.append(str(fault))
    if case.system is not None and not injected(scene.log, case.system.where):
        never.append(str(case.system))
    return never


def _disarm(case: Case, scene: Scene) -> None:
    """No fault may meet the checks, and a server that was killed must answer them."""
    if not scene.server.alive:
        scene.server.restart()
    if case.script:
        scene.server.script()
    if scene.relay is not None:
        scene.relay.rules.clear()
