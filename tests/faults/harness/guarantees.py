"""Whether the promises G1 to G7 of docs/reliability.md held, whatever went wrong: run after every case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faults.harness.case import Case
from faults.harness.scene import SECRETS, Before, Scene
from faults.harness.watched import Watched
from support.command import Ran
from support.restoring import path_of

__all__ = ["broken_promises"]

PEAK_BYTES = 512 * 2**20
"""The engine's process with its own limit is among what is measured; no world of a case is larger than a few megabytes."""

ENDS_OF_WHOLE_BACKUPS = frozenset({4, 129, 130, 143})
"""Exit codes other than 0 after which a whole backup may stand: its config files could not be read; signals."""

MAKES_BACKUPS = frozenset({"backup"})
CHANGES_SERVER = frozenset({"restore", "undo", "resume", "recover"})
DELETES_BACKUPS = frozenset({"prune"})


def broken_promises(scene: Scene, case: Case, before: Before, watched: Watched) -> list[str]:
    """Each promise that did not hold, by name, with what was found in its place; none when all held."""
    found = [f"ended: {line}" for line in _ended(case, watched)]
    for name in case.guarantees:
        found += [f"{name}: {line}" for line in CHECKS[name](scene, case, before, watched)]
    return found


def _ended(case: Case, watched: Watched) -> Iterator[str]:
    """The exit code, the words, and that nobody sees a traceback."""
    ran = watched.ran
    if not watched.in_time:
        yield "not by itself"
    if ran.code not in case.exits:
        yield f"with {ran.code}, not one of {list(case.exits)}"
    shown = ran.out + ran.err
    yield from (f"without saying {word!r}" for word in case.says if word not in shown)
    yield from (f"saying {word!r}" for word in case.silent if word in shown)
    if "Traceback" in shown:
        yield "with a traceback"


def _g1(scene: Scene, case: Case, before: Before, watched: Watched) -> Iterator[str]:
    """Success means a backup that passes `verify --content` and holds what the server holds; or a restore that is one."""
    if watched.ran.code != 0:
        return
    if case.run[0] in MAKES_BACKUPS:
        new = [backup for backup in scene.line.published() if backup.name not in before.listed]
        if len(new) != 1:
            yield f"success, and new backups are {new}"
            return
        verified = scene.without_faults().inside("verify", new[0].name, "--content")
        if verified.code != 0:
            yield f"success, and `verify --content` says {verified.code}: {verified.err}"
    elif scene.goal is not None and case.run[0] in CHANGES_SERVER:
        yield from _differences("success, but", scene.lab.state(), scene.goal)


def _g2(scene: Scene, case: Case, before: Before, watched: Watched) -> Iterator[str]:
    """Earlier backups are byte for byte what they were; a deleted one is gone as a whole."""
    now = scene.files()
    left = {name.partition("/")[0] for name in now}
    for name, was in before.files.items():
        if case.run[0] in DELETES_BACKUPS and name.partition("/")[0] not in left:
            continue
        if now.get(name) != was:
            yield f"{name} is not what it was"


def _g3(scene: Scene, case: Case, before: Before, watched: Watched) -> Iterator[str]:
    """What is not complete is not listed, and the next run is whole and clears it away."""
    line = scene.without_faults()
    if watched.ran.code != 0 and case.run[0] in MAKES_BACKUPS:
        for extra in sorted(set(_listed(scene)) - set(before.listed)):
            # A signal may come when the backup has its name already, and a config file may miss in one that is kept.
            if watched.ran.code > 0 and watched.ran.code not in ENDS_OF_WHOLE_BACKUPS:
                yield f"failed, and yet lists {extra}"
            elif line.inside("verify", extra, "--content").code != 0:
                yield f"ended with {watched.ran.code}, and lists {extra}, which is not whole"
    again = line.inside("backup")
    if again.code != 0:
        yield f"the next backup ends with {again.code}: {again.err}"
    wrecks = [name for name in line.wrecks() if not _is_safety_copy(name)]
    if wrecks:
        yield f"the next backup leaves {wrecks}"


def _is_safety_copy(name: str) -> bool:
    """A restore keeps one for `undo`."""
    return name.startswith(".safety-") and not name.endswith(".partial")


def _g4(scene: Scene, case: Case, before: Before, watched: Watched) -> Iterator[str]:
    """Every collection is as it was or as it should become, the report names those that changed, and nothing is lost."""
    if case.run[0] not in CHANGES_SERVER:
        if scene.server.alive:
            yield from _differences("a command that restores nothing", scene.lab.state(), before.state)
        return
    now, goal = _state(scene), scene.goal or {}
    said = watched.ran.out + watched.ran.err
    lost: list[str] = []
    for name in sorted(set(before.state) | set(goal)):
        found = now.get(name)
        if found == before.state.get(name):
            continue
        if found != goal.get(name):
            lost.append(name)
        if watched.ran.code != 0 and name != "aliases" and name not in said:
            yield f"{name} changed, and nobody says so"
    if lost:
        yield from _not_recoverable(scene, before, lost, said)


def _state(scene: Scene) -> dict[str, Any]:
    """What the server holds, also where a collection is broken."""
    found: dict[str, Any] = {"aliases": scene.lab.aliases()}
    for each in scene.lab.call("GET", "/collections")["collections"]:
        name = each["name"]
        status, _ = scene.server.call("GET", path_of(name))
        found[name] = scene.lab.state(name)[name] if status == 200 else "broken"
    return found


def _not_recoverable(scene: Scene, before: Before, lost: list[str], said: str) -> Iterator[str]:
    """What could not be put back: the report says NOT RESTORED, and once the cause is gone `undo` brings it back."""
    if "NOT RESTORED" not in said and "could not be taken back" not in said:
        yield f"{', '.join(lost)}: neither what it was nor what it should become, and nobody says NOT RESTORED"
    ran = scene.without_faults().inside("undo", "--yes")
    if ran.code != 0:
        yield f"`undo` after NOT RESTORED ends with {ran.code}: {ran.err}"
    yield from _differences("`undo` after NOT RESTORED", _state(scene), before.state)


def _g5(scene: Scene, case: Case, before: Before, watched: Watched) -> Iterator[str]:
    """Nothing is left on the server or in the temporary directory, or it is named; and the next run takes it away."""
    said = watched.ran.out + watched.ran.err
    if scene.server.alive:
        extra = scene.snapshots() - before.snapshots
        yield from (f"{name} is left on the server, unnamed" for name in extra if name not in said)
        yield from (f"{name}, which is somebody else's, was removed" for name in before.snapshots - scene.snapshots())
        if extra and scene.without_faults().inside("backup").code == 0:
            extra = scene.snapshots() - before.snapshots
            yield from (f"{name} is left on the server by the next backup too" for name in extra)
    yield from (f"{path.name} is left, unnamed" for path in scene.temporary.iterdir() if path.name not in said)


def _g6(scene: Scene, case: Case, before: Before, watched: Watched) -> Iterator[str]:
    """No secret in what was printed or written, and none on its way to another host."""
    ran = watched.ran
    for secret in SECRETS:
        if secret in ran.out + ran.err:
            yield f"{secret!r} was printed"
        yield from (f"{secret!r} stands in {path.name}" for path in _records(scene) if _contains(path, secret))
        for witness in scene.witnesses:
            if any(secret in str(request.headers) + str(request.body) for request in witness.requests):
                yield f"{secret!r} was sent to another host"


def _records(scene: Scene) -> list[Path]:
    """What the tool writes itself: manifests, journals, intents, the catalogue, logs. Copies of `.env` are their owner's."""
    inside = (path for path in scene.line.directory.rglob("*") if path.is_file() and not path.is_symlink())
    own = {".json", ".txt", ".lock", ".log", ".sha256", ""}
    return [path for path in inside if path.suffix in own and path.name != ".env" and not _of_server(scene, path)]


def _of_server(scene: Scene, path: Path) -> bool:
    """A server that lives below the scene's directory has its keys in files of its own."""
    return scene.server.data_dir.name in path.as_posix()


def _contains(path: Path, secret: str) -> bool:
    return secret.encode() in path.read_bytes()


def _g7(scene: Scene, case: Case, before: Before, watched: Watched) -> Iterator[str]:
    """It ended by itself (checked always), and within its memory."""
    if watched.peak_bytes is None:
        yield "the peak of memory is not known"
    elif watched.peak_bytes > PEAK_BYTES:
        yield f"took {watched.peak_bytes >> 20} MiB"


def _listed(scene: Scene) -> list[str]:
    """The ids that `list` shows."""
    ran: Ran = scene.without_faults().inside("list", "--json")
    assert ran.code == 0, ran
    return [backup["id"] for backup in ran.json]


def _differences(what: str, now: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(set(now) | set(wanted)):
        if now.get(name) != wanted.get(name):
            yield f"{what}: {name} is another"


Check = Callable[[Scene, Case, Before, Watched], Iterator[str]]
CHECKS: dict[str, Check] = {"G1": _g1, "G2": _g2, "G3": _g3, "G4": _g4, "G5": _g5, "G6": _g6, "G7": _g7}
