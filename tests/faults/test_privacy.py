"""S03, S06: what is written is its owner's alone from its first moment, and is written through no link."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from faults.conftest import Play
from faults.harness.case import Case, parameters
from faults.harness.plugin import missing
from faults.harness.scene import CANARY, Scene, restore_world
from faults.harness.secrets import LOOK, QUESTION, scene
from support.command import PROGRAM

__all__ = ["scene"]


# S03 ------------------------------------------------------------------------------------------------------------------

_MADE = re.compile(
    r'(?:openat|open|mkdir|mkdirat|mknod|mknodat|creat)\((?:[^"]*?)"([^"]*)"(.*)\)\s+= \d+(?:<([^>]*)>)?'
)
_MODE = re.compile(r", (0[0-7]*)$")
_UMASK = re.compile(r"umask\((0[0-7]*)\)")
MAKING = "trace=openat,open,creat,mkdir,mkdirat,mknod,mknodat,umask"
STRACED = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "4096", "-e", MAKING, "-o"]


def _open_to_others(log: Path, root: Path) -> list[str]:
    """Files and directories below `root` that had rights for others when they were made, by strace's word.

    The mode counts that is asked for, less the umask of the first process, which all others inherit.
    """
    found: list[str] = []
    first, umask = "", 0
    for line in log.read_text("utf-8", "replace").splitlines():
        process = line.partition(" ")[0]
        first = first or process
        if (changed := _UMASK.search(line)) and process == first:
            umask = int(changed[1], 8)
        match = _MADE.search(line)
        if not match or not ("O_CREAT" in line or "O_TMPFILE" in line or "mkdir" in line or "mknod" in line):
            continue
        mode = _MODE.search(match[2])
        where = match[3] or match[1]
        below = where.startswith(str(root)) or not where.startswith("/")
        if below and mode and int(mode[1], 8) & ~umask & 0o077:
            found.append(f"{where} {mode[1]}")
    return found


def _umask_of_nobody() -> None:
    os.umask(0)


WRITING = {
    "backup": (("backup", "--include-logs"),),
    "restore and undo": (("restore", "{}", "--force", "--restore-config"), ("undo", "--yes")),
    "verify": (("verify", "{}", "--content"),),
    "looking": (
        ("search", "{}", QUESTION, *LOOK),
        ("points", "{}", *LOOK),
        ("diff", "{}", "live"),
        ("history", "5", *LOOK),
    ),
    "recover": (("recover", "--from", "{}", "--ids", "5", *LOOK, "--overwrite", "--yes"),),
    "drill": (("drill", "record", QUESTION, *LOOK), ("drill", "{}", *LOOK)),
    "prune": (("prune", "--keep-days", "0", "--yes"),),
    "demo": (("demo", "--keep"),),
}
QUICK_WRITING = {"backup"}


def _below_elsewhere(scene: Scene) -> dict[str, str]:
    """Directories that do not exist yet, with parents that do not exist either."""
    fresh = scene.line.directory / "fresh"
    return {"AI_MEMORY_BACKUP_DIR": str(fresh / "a" / "backups"), "QDRANT_BACKUP_CACHE_DIR": str(fresh / "b" / "cache")}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.fault("S03", quick=what in QUICK_WRITING)) for what in WRITING]
)
def test_whatever_the_umask_nothing_is_ever_open_to_others(scene: Scene, what: str) -> None:
    if lacking := missing(("strace",)):
        pytest.skip(f"needs {', '.join(lacking)}")
    log = scene.line.directory.parent / "made.strace"
    before = set(scene.line.directory.rglob("*"))
    for words in WRITING[what]:
        process = scene.line.start(
            *(word.replace("{}", scene.backup) for word in words),
            env=_below_elsewhere(scene) if what == "backup" else {},
            program=[*STRACED, str(log), *PROGRAM],
            preexec_fn=_umask_of_nobody,
        )
        ran = scene.line.ended(process)
        assert ran.code in (0, 10), ran
        assert _open_to_others(log, scene.line.directory) == [], words
    made = [path for path in scene.line.directory.rglob("*") if path not in before]
    open_now = [f"{path} {path.lstat().st_mode:o}" for path in made if path.lstat().st_mode & 0o077]
    assert [line for line in open_now if ".bak" not in line] == []


@pytest.mark.fault("S03", quick=False)
def test_the_check_itself_sees_what_is_open_to_others(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '1 openat(AT_FDCWD</x>, "/x/a", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</x/a>\n'
        '1 openat(AT_FDCWD</x>, "/x/b", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3</x/b>\n'
        '1 mkdir("/x/c", 0777) = 0\n'
        '1 mkdirat(4</x>, "d", 0700) = 0\n'
        '1 openat(AT_FDCWD</x>, "/x/e", O_RDONLY) = 3</x/e>\n'
        '1 mkdir("/x/f", 0777) = -1 EEXIST (File exists)\n'
        "2 umask(077) = 022\n"
        '2 mkdir("/x/g", 0777) = 0\n'
        "1 umask(077) = 022\n"
        '2 mkdir("/x/h", 0777) = 0\n'
    )
    assert _open_to_others(log, Path("/x")) == ["/x/b 0666", "/x/c 0777", "/x/g 0777"]


@pytest.mark.fault("S03")
def test_a_planted_link_to_a_directory_is_refused_before_a_restore_begins(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    before = scene.lab.state()
    (scene.line.backups / ".undo").symlink_to(tmp_path / "victim")
    ran = scene.line.inside("restore", scene.backup, "--force")
    assert ran.code == 2, ran
    assert ".undo is a symbolic link" in ran.err
    assert scene.lab.state() == before
    assert list((tmp_path / "victim").iterdir()) == []


PLANTED = (
    ".lock",
    ".catalogue.json",
    ".restore-journal.json",
    ".intents",
    ".undo",
    ".golden.json",
    ".drills",
    ".scratch",
)


@pytest.mark.fault("S03", quick=False)
@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("kind", ["file", "nothing", "directory"])
def test_no_link_is_followed_by_anything_that_is_written(scene: Scene, tmp_path: Path, name: str, kind: str) -> None:
    victim = tmp_path / "victim"
    if kind == "file":
        victim.write_text("{}")
    elif kind == "directory":
        victim.mkdir()
    place = scene.line.backups / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(victim)
    for words in (
        ("backup",),
        ("restore", scene.backup, "--force"),
        ("undo", "--yes"),
        ("recover", "--from", scene.backup, "--ids", "5", *LOOK, "--overwrite", "--yes"),
        ("drill", "record", QUESTION, *LOOK),
        ("drill", scene.backup, *LOOK),
        ("anomaly", "accept", scene.backup),
        ("prune", "--keep-days", "9999", "--yes"),
    ):
        ran = scene.line.inside(*words)
        assert ran.code != 70, ran
        assert "Traceback" not in ran.err
        if kind == "file":
            assert victim.read_text() == "{}", words
        elif kind == "directory":
            assert list(victim.iterdir()) == [], words
        else:
            assert not victim.exists(), words


# S06 ------------------------------------------------------------------------------------------------------------------


def _env_is_private(scene: Scene) -> None:
    backup = scene.line.published()[-1]
    copies = [path for path in backup.rglob(".env*") if path.is_file()]
    assert copies
    for path in [*copies, *backup.rglob("*"), backup, scene.line.backups]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.fault("S06", quick=False)
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o777, 0o400])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_copy_of_an_env_file_is_its_owners_alone_whatever_the_original_was(
    scene: Scene, mode: int, umask: int
) -> None:
    (scene.line.install / "docker" / ".env").chmod(mode)
    before = os.umask(umask)
    try:
        ran = scene.line.inside("backup", "--collection", "conventions")
    finally:
        os.umask(before)
    ran.ok()
    _env_is_private(scene)


def _changed_env(scene: Scene) -> None:
    (scene.line.install / "docker" / ".env").write_text(f"OTHER_SECRET={CANARY}x\n")


S06 = [
    Case("S06", "a copy of an env file is not shown", ("show", "latest", "--json"), (0,), world=restore_world),
    Case(
        "S06",
        "what would replace it is not shown",
        ("restore", "{backup}", "--dry-run", "--restore-config"),
        (0,),
        (".env: replace",),
        world=restore_world,
        damage=_changed_env,
    ),
]


@pytest.mark.parametrize(("case", "kind"), parameters([dataclasses.replace(case, quick=False) for case in S06]))
def test_secrecy_through_the_command_line(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
