"""Snapshots as a server would offer them, and is not right to."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.parse
from collections.abc import Callable
from typing import Any

from faults.harness.scene import Scene
from support.relay import Answer, Rule
from support.restoring import path_of

__all__ = ["offered", "snapshot_of", "without_shards"]


def snapshot_of(scene: Scene, name: str) -> bytes:
    """A snapshot of the collection as it is now; nothing of it stays on the server."""
    made = scene.lab.call("POST", path_of(name, "snapshots?wait=true"))["name"]
    path = path_of(name, "snapshots", urllib.parse.quote(made))
    status, archive = scene.server.call("GET", path)
    assert status == 200, archive
    scene.lab.call("DELETE", f"{path}?wait=true")
    return archive


def without_shards(archive: bytes, *shards: int) -> bytes:
    """The archive without the members of these shards, whole in every other way."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        members = read.getmembers()
        end = read.offset
    borders = [member.offset for member in members] + [end]
    kept = [
        archive[border:following]
        for member, border, following in zip(members, borders[:-1], borders[1:], strict=True)
        if member.name.partition("/")[0] not in map(str, shards)
    ]
    assert len(kept) < len(members)
    return b"".join(kept) + bytes(1024)


def offered(name: str, change: Callable[[bytes], bytes]) -> Callable[[Scene], None]:
    """Damage: whoever asks for a snapshot of this collection is given a changed one, which fits its checksum."""

    def damage(scene: Scene) -> None:
        archive = change(snapshot_of(scene, name))
        description = {
            "name": f"{name}-1-2026-02-03-14-30-52.snapshot",
            "size": len(archive),
            "creation_time": "2026-02-03T14:30:52",
            "checksum": hashlib.sha256(archive).hexdigest(),
        }
        listed: list[Answer] = [_json([]), _json([description])]
        path = path_of(name, "snapshots")
        scene.through_relay().rules += [
            Rule(f"POST {path}[?]*", _json(description), times=None),
            Rule(f"GET {path}/*.snapshot", Answer(200, archive), times=None),
            Rule(f"DELETE {path}/{name}-*", _json(True), times=None),
            Rule(f"GET {path}", listed[0], times=2),
            Rule(f"GET {path}", listed[1], times=None),
        ]

    return damage


def _json(result: Any) -> Answer:
    return Answer(200, json.dumps({"result": result, "status": "ok", "time": 0}).encode())
