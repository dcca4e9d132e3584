"""H03, H06, H07, H08: manifests, archives and links that somebody crafted, through every command that reads a backup."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.canaries import Canaries, canaries
from faults.harness.case import BOTH, Case, parameters
from faults.harness.hostile import HOSTILE_ARCHIVES, Stage, stage
from faults.harness.scene import CANARY, Scene, restore_world
from qdrant_backup.errors import OperationFailed
from support.damaged import resigned
from support.stored import published

__all__ = ["canaries", "stage"]

INTEGRITY = 5
SNAPSHOT = "qdrant/discussions.snapshot"


# H03 ------------------------------------------------------------------------------------------------------------------

Rename = Callable[[dict[str, Any], str], Any]

NAMES: dict[str, Rename] = {
    "snapshot": lambda raw, path: raw["collections"]["discussions"].update(snapshot_file=path),
    "digest": lambda raw, path: raw["collections"]["discussions"].update(digest_file=path),
    "file": lambda raw, path: raw["files"][0].update(path=path),
    "config": lambda raw, path: raw["config"][0].update(path=path),
    "config file": lambda raw, path: raw["config_files"].append(path),
}


def forms(canary: Path, base: Path) -> list[str]:
    """Ways to name a file outside."""
    climbing = os.path.relpath(canary, base)
    return [climbing, str(canary), f"x/../{climbing}", "../.env", "../../.env", "/etc/passwd", "C:/evil", "..\\evil"]


@pytest.mark.fault("H03")
@pytest.mark.parametrize("field", NAMES)
def test_a_manifest_that_names_a_file_outside_is_refused_and_nothing_is_opened(
    stage: Stage, canaries: Canaries, tmp_path: Path, field: str, full: bool
) -> None:
    canary = tmp_path / "outside"
    canary.write_text(CANARY)
    canaries.watch(canary)
    base = stage.good / ("qdrant" if field == "snapshot" else "config" if "config" in field else ".")
    commands = [["verify"], ["restore", "--force", "--restore-config"]]
    if full:
        commands += [["show"], ["verify", "--content"], ["restore", "--dry-run", "--restore-config"], ["points"]]
    for path in forms(canary, base) if full else forms(canary, base)[:4]:
        with stage.hostile(lambda raw, path=path: NAMES[field](raw, path)) as name:
            for words in commands:
                ran = stage.refused([words[0], name, *words[1:]], INTEGRITY)
                assert CANARY not in ran.out + ran.err
    assert canaries.touched() == []
    stage.require_untouched()


@pytest.mark.fault("H03", quick=False)
def test_a_config_file_goes_nowhere_but_to_its_place(stage: Stage, canaries: Canaries, tmp_path: Path) -> None:
    canary = tmp_path / "outside"
    canary.write_text(CANARY)
    canaries.watch(canary)
    for original in (str(canary), "/etc/cron.d/evil", os.path.relpath(canary, stage.line.install), "../../evil", ""):
        (stage.line.install / "docker" / ".env").write_text("QDRANT_PORT=26350\nCHANGED=1\n")
        with stage.hostile(lambda raw, original=original: raw["config"][0].update(original=original)) as name:
            ran = stage.refused(["restore", name, "--force", "--restore-config"], 0, 4)
            assert CANARY not in ran.out + ran.err
        assert not (stage.line.install / "evil").exists()
    assert canaries.touched() == []
    assert canary.read_text() == CANARY


def _link(relative: str) -> Callable[[Path, Path], object]:
    """A file of the backup is a link to the canary."""

    def plant(backup: Path, canary: Path) -> None:
        (backup / relative).unlink()
        (backup / relative).symlink_to(canary)

    return plant


def _directory_link(relative: str) -> Callable[[Path, Path], object]:
    """A directory of the backup is a link to one that holds the same names, with the canary's bytes."""

    def plant(backup: Path, canary: Path) -> None:
        elsewhere = canary.with_name(f"{canary.name}-{relative}")
        elsewhere.mkdir()
        for path in (backup / relative).iterdir():
            os.link(canary, elsewhere / path.name)
            path.unlink()
        (backup / relative).rmdir()
        (backup / relative).symlink_to(elsewhere)

    return plant


LINKS = {
    "snapshot": _link(SNAPSHOT),
    "digest": _link("digest/discussions.digest"),
    "config file": _link("config/.env"),
    "checksums": _link("SHA256SUMS"),
    "manifest": _link("manifest.json"),
    "directory of snapshots": _directory_link("qdrant"),
    "directory of config files": _directory_link("config"),
}


@pytest.mark.fault("H03")
@pytest.mark.parametrize("what", LINKS)
def test_a_link_in_a_backup_is_refused_and_not_followed(
    stage: Stage, canaries: Canaries, tmp_path: Path, what: str
) -> None:
    canary = tmp_path / "outside"
    canary.write_text(CANARY)
    canaries.watch(canary)
    with stage.hostile(plant=lambda backup: LINKS[what](backup, canary)) as name:
        canaries.touched()  # Making the link may have counted.
        for words in (["verify", name], ["restore", name, "--force", "--restore-config"]):
            ran = stage.refused(words, INTEGRITY)
            assert CANARY not in ran.out + ran.err
        assert canaries.touched() == []
    stage.require_untouched()


# H06 ------------------------------------------------------------------------------------------------------------------

COMMANDS = {
    "verify": ["verify", "{}"],
    "verify --content": ["verify", "{}", "--content"],
    "restore": ["restore", "{}", "--force"],
    "search": ["search", "{}", "memory", "--collection", "discussions"],
    "points": ["points", "{}", "--collection", "discussions"],
    "facet": ["facet", "{}", "group", "--collection", "discussions"],
    "recover": ["recover", "--from", "{}", "--ids", "1", "--collection", "discussions", "--yes"],
    "diff": ["diff", "{}", "live", "--collection", "discussions"],
    "serve": ["serve", "{}", "--port", "0"],
}
QUICK_ARCHIVES = ("symlink", "climbing name", "pax path", "sparse terabyte", "nested archive that climbs")
HARMLESS = {"diff"}
"""`diff` compares the digests first; where these say all, it need not open the archive."""


def no_file_called_evil(root: Path) -> bool:
    return not list(root.rglob("evil*"))


def through(stage: Stage, what: str, commands: list[str]) -> None:
    hostile = HOSTILE_ARCHIVES[what]((stage.good / SNAPSHOT).read_bytes())
    with stage.hostile(files={SNAPSHOT: hostile}) as name:
        for command in commands:
            words = [word.replace("{}", name) for word in COMMANDS[command]]
            ran = stage.refused(words, *((INTEGRITY, 10, 0) if command in HARMLESS else (INTEGRITY,)))
            assert "memory 1 of" not in ran.out, "content of a hostile archive was shown"
    assert no_file_called_evil(stage.line.directory.parent)
    assert not Path("/evil").exists()


@pytest.mark.fault("H06")
def test_a_hostile_archive_is_refused_before_anything_is_sent_or_unpacked(stage: Stage) -> None:
    for what in QUICK_ARCHIVES:
        through(stage, what, ["verify", "restore"])
    stage.require_untouched()


@pytest.mark.fault("H06", quick=False)
@pytest.mark.parametrize("what", HOSTILE_ARCHIVES)
def test_no_command_takes_a_hostile_archive(stage: Stage, what: str) -> None:
    through(stage, what, list(COMMANDS))
    stage.require_untouched()


def hostile_snapshot(what: str) -> Callable[[Scene], None]:
    def damage(scene: Scene) -> None:
        backup = scene.line.backups / scene.backup
        resigned(backup, lambda _: None, {SNAPSHOT: HOSTILE_ARCHIVES[what]((backup / SNAPSHOT).read_bytes())})

    return damage


ARCHIVES = [
    Case(
        "H06",
        f"{what} {words[0]}",
        words,
        (INTEGRITY,),
        says=("discussions",),
        world=restore_world,
        damage=hostile_snapshot(what),
        on=BOTH if words[0] == "restore" else ("embedded",),
        quick=False,
    )
    for what in ("symlink", "sparse terabyte", "hundred sparse members", "document of a terabyte")
    for words in (("verify", "{backup}", "--content"), ("restore", "{backup}", "--force"))
]


# H07 ------------------------------------------------------------------------------------------------------------------


def _manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Scene], None]:
    return lambda scene: resigned(scene.line.backups / scene.backup, change)


def _in_place(relative: str, data: bytes, *, repeat: int = 1, size_bytes: int = 0) -> Callable[[Scene], None]:
    """Other bytes, often repeated or as the begin of a huge hole, in the place of a file of the backup."""

    def damage(scene: Scene) -> None:
        path = scene.line.backups / (relative if relative.startswith(".") else f"{scene.backup}/{relative}")
        with path.open("wb") as file:
            for _ in range(repeat):
                file.write(data)
            if size_bytes:
                file.truncate(size_bytes)

    return damage


GIGABYTE = 1 << 30
MANY = b'{"format":1,"backup_date":"x","qdrant_host":"x","qdrant_port":1,"collections":{},"more":['
BOMBS = {
    "a manifest of a gigabyte": (_in_place("manifest.json", b"{", size_bytes=GIGABYTE), (2, 5)),
    "a manifest of empty lists": (_in_place("manifest.json", MANY + b"[]," * 5_000_000 + b"0]}"), (2, 5)),
    "a manifest of 60 MB of empty lists": (_in_place("manifest.json", MANY + b"[]," * 20_000_000 + b"0]}"), (2, 5)),
    "a manifest nested without end": (_in_place("manifest.json", b"[" * 5_000_000), (2, 5)),
    "checksums of a gigabyte": (_in_place("SHA256SUMS", b"x", size_bytes=GIGABYTE), (5,)),
    "a digest that claims a gigabyte of names": (
        _in_place("digest/discussions.digest", b"QDIGEST1\xff\xff\xff\x3f", size_bytes=GIGABYTE),
        (5,),
    ),
    "a newer format": (_manifest(lambda raw: raw.update(format=2)), (7,)),
    "a format that is no number": (_manifest(lambda raw: raw.update(format="1")), (2,)),
    "a negative format": (_manifest(lambda raw: raw.update(format=-1)), (2,)),
    "a number of ten thousand digits": (_in_place("manifest.json", b'{"format":' + b"9" * 10_000 + b"}"), (2, 7)),
    "doubled keys": (_in_place("manifest.json", b'{"format":1,"format":99,"collections":{}}'), (2, 7)),
    "a negative size": (_manifest(lambda raw: raw["files"][0].update(size_bytes=-1)), (2,)),
    "records without end": (_manifest(lambda raw: raw["collections"]["discussions"].update(records=10**30)), (2,)),
}
BOMB_CASES = [
    Case("H07", f"{what} {words[0]}", words, exits, world=restore_world, damage=damage, quick=False)
    for what, (damage, exits) in BOMBS.items()
    for words in (("verify", "{backup}"), ("restore", "{backup}", "--force"))
] + [
    Case(
        "H07",
        "unknown fields are kept and harm nothing",
        ("restore", "{backup}", "--force"),
        (0,),
        world=restore_world,
        damage=_manifest(
            lambda raw: (raw.update(later={"a": [1]}), raw["collections"]["discussions"].update(later=2))
        ),
        on=BOTH,
        quick=False,
    ),
    Case(
        "H07",
        "a catalogue of a gigabyte",
        ("list",),
        (0,),
        says=("catalogue",),
        world=restore_world,
        damage=_in_place(".catalogue.json", b"{", size_bytes=GIGABYTE),
        quick=False,
    ),
    Case(
        "H07",
        "a journal of a gigabyte",
        ("restore", "{backup}", "--force"),
        (5,),
        says=("journal",),
        world=restore_world,
        damage=_in_place(".restore-journal.json", b"{", size_bytes=GIGABYTE),
        quick=False,
    ),
    Case(
        "H07",
        "a journal of empty lists",
        ("restore", "{backup}", "--force"),
        (5,),
        says=("journal",),
        world=restore_world,
        damage=_in_place(".restore-journal.json", b'{"sha256":"","document":[' + b"[]," * 20_000_000),
        quick=False,
    ),
]  # fmt: skip


# H08 ------------------------------------------------------------------------------------------------------------------


def _env_changed(scene: Scene) -> Path:
    env = scene.line.install / "docker" / ".env"
    env.write_text("QDRANT_PORT=26350\nOTHER_SECRET=another\n")
    return env


def _file_link(target: str) -> Callable[[Scene], None]:
    def plant(scene: Scene) -> None:
        env = _env_changed(scene)
        env.rename(scene.line.directory / "victim")
        env.symlink_to(target.format(scene.line.directory))

    return plant


def _folder_link(scene: Scene) -> None:
    env = _env_changed(scene)
    victim = scene.line.directory / "victim-folder"
    env.parent.rename(victim)
    env.parent.symlink_to(victim)


PLANTED = {
    "a link to a file": _file_link("{}/victim"),
    "a link to a file of the system": _file_link("/etc/hostname"),
    "a link to nothing": _file_link("{}/not-there"),
    "a link to a directory": _file_link("{}"),
    "a link in place of the folder": _folder_link,
}


def _victims(directory: Path) -> dict[str, bytes]:
    found = {name: Path(name).read_bytes() for name in ("/etc/hostname",) if Path(name).is_file()}
    for path in [directory / "victim", *sorted((directory / "victim-folder").glob("*"))]:
        if path.is_file():
            found[str(path)] = path.read_bytes()
    return found


@pytest.mark.fault("H08")
@pytest.mark.parametrize("what", PLANTED)
def test_a_config_file_is_not_restored_through_a_link(stage: Stage, what: str) -> None:
    PLANTED[what](stage.scene)
    before = _victims(stage.line.directory)
    ran = stage.refused(["restore", stage.good.name, "--force", "--restore-config"], 4)
    assert "link" in ran.err
    assert "collections are restored" in ran.err
    assert _victims(stage.line.directory) == before
    assert not (stage.line.directory / "not-there").exists()
    assert {name: found for name, found in stage.scene.lab.state().items() if name in (stage.scene.goal or {})} == (
        stage.scene.goal
    )


@pytest.mark.fault("H08", quick=False)
def test_a_link_where_the_old_file_would_be_kept_is_not_written_through(stage: Stage, tmp_path: Path) -> None:
    env = _env_changed(stage.scene)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for second in range(60):
        for minute in range(3):
            name = stage.scene.lab.clock.now().strftime(f"%Y-%m-%d_%H{minute:02}{second:02}")
            (env.parent / f".env.{name}.bak").symlink_to(victim)
    stage.refused(["restore", stage.good.name, "--force", "--restore-config"], 0, 4)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(("case", "kind"), parameters([*ARCHIVES, *BOMB_CASES]))
def test_hostile_input_through_the_command_line(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)


@pytest.mark.fault("H07", quick=False)
def test_no_manifest_is_written_that_would_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdrant_backup.storage.partial.LONGEST_MANIFEST", 500)
    with pytest.raises(OperationFailed, match="too many files"):
        published(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == []
