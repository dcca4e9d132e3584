"""Worlds of the cases about the server: as small as the fault allows, since a case costs what its world does."""

from __future__ import annotations

from faults.harness.scene import Scene
from support.restoring import path_of, plain_config, points_of
from support.stored import published

__all__ = ["FIVE", "NAME", "changed", "five_changed", "lost_points", "one_backup", "one_changed", "restored"]

NAME = "discussions"
FIVE = ("a-first", "b-second", "c-third", "d-fourth", "e-fifth")
INDEXES = {"group": "keyword", "rank": {"type": "integer", "lookup": True, "range": True}}


def one_backup(scene: Scene) -> None:
    """One collection with indexes and an alias, and an earlier backup that must stay as it is."""
    scene.lab.make(NAME, points_of(20), indexes=INDEXES)
    scene.lab.alias("talk", NAME)
    scene.line.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    published(scene.line.backups)


def changed(scene: Scene, *names: str) -> None:
    """Back up what is there, say that this is what a restore must bring back, and change the named collections."""
    ran = scene.line.inside("backup")
    assert ran.code == 0, ran
    scene.goal = scene.lab.state()
    scene.backup = scene.line.published()[-1].name
    for number, name in enumerate(names):
        scene.lab.put(name, points_of(3, seed=40 + number, first=500))
        scene.lab.call("POST", path_of(name, "points/delete?wait=true"), {"points": [1, 3]})


def one_changed(scene: Scene) -> None:
    """One collection in a backup, its points, an index and its alias changed since."""
    scene.lab.make(NAME, points_of(20), indexes=INDEXES)
    scene.lab.make("other", points_of(4, seed=9))
    scene.lab.alias("talk", NAME)
    changed(scene, NAME)
    scene.lab.call("DELETE", path_of(NAME, "index", "rank?wait=true"))
    scene.lab.alias("talk", "other")


def restored(scene: Scene) -> None:
    """A restore that went well, and what undoing it must bring back; by the address that the undo will use."""
    scene.through_relay()
    one_changed(scene)
    scene.goal = scene.lab.state()
    ran = scene.line.inside("restore", scene.backup, "--force")
    assert ran.code == 0, ran


def lost_points(scene: Scene) -> None:
    """A collection whose backup has two points more, another that nobody restores, and an alias."""
    scene.lab.make(NAME, points_of(20), indexes={"group": "keyword"})
    scene.lab.make("other", points_of(4, seed=9))
    scene.lab.alias("talk", NAME)
    changed(scene)
    scene.lab.call("POST", path_of(NAME, "points/delete?wait=true"), {"points": [1, 3]})


def five_changed(scene: Scene) -> None:
    """Five collections in a backup, each changed since."""
    for number, name in enumerate(FIVE):
        scene.lab.make(name, points_of(6, seed=number), plain_config(), indexes={"group": "keyword"})
    changed(scene, *FIVE)
