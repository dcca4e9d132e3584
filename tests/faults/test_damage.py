"""H01, H02: bytes that are not what they were, files that are missing or another's."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, Case, parameters
from faults.harness.scene import Scene, restore_world
from qdrant_backup.archive import tar
from qdrant_backup.cli.exits import code_of
from qdrant_backup.errors import QdrantBackupError
from qdrant_backup.operations.verify import verify
from qdrant_backup.storage.catalogue import Level
from qdrant_backup.storage.stored import StoredBackup, load
from qdrant_backup.storage.verify import check_files
from support.damaged import copied, everything, flip, intact, resigned
from support.original_backup import unpack_original_backup
from support.restoring import Lab, points_of
from support.stored import published
from support.worlds import lab_at

FLIPS, FLIPS_QUICK = 1000, 40
INTEGRITY = 5
OF_A_MANIFEST = (2, 5, 7)
"""A manifest that is none any more is no backup (2), and one that says it is newer is newer (7): design 4 and 8."""


@pytest.fixture(scope="module")
def made(shared_servers: Any, tmp_path_factory: pytest.TempPathFactory) -> StoredBackup:
    """A good backup with a file of every kind."""
    server = shared_servers.get("embedded")
    done = everything(lab_at(server, tmp_path_factory.mktemp("good")))
    server.empty()
    return done


@pytest.fixture
def bench(embedded_server: Any, tmp_path: Path) -> Lab:
    """A server whose content must stay as it is."""
    lab = lab_at(embedded_server, tmp_path)
    lab.make("docs", points_of(4, seed=9))
    return lab


def files_of(backup: Path) -> list[Path]:
    return sorted(path for path in backup.rglob("*") if path.is_file())


def verified(path: Path, lab: Lab) -> int:
    """The exit code that `verify` ends with."""
    try:
        verify(load(path), Level.FILES, lab.ports).raise_for_damage()
    except QdrantBackupError as error:
        return code_of(error, "verify")
    return 0


def restored(path: Path, lab: Lab) -> int:
    """The exit code that `restore` ends with; whatever it is, the server was not told to do anything."""
    lab.server.called.clear()
    try:
        lab.restore(str(path))
    except QdrantBackupError as error:
        assert lab.server.called == []
        assert lab.safety_copies() == []
        assert lab.journal() is None
        return code_of(error, "restore")
    return 0


def require_found(path: Path, damaged: Path, lab: Lab, what: object) -> None:
    right = OF_A_MANIFEST if damaged.name == "manifest.json" else (INTEGRITY,)
    assert verified(path, lab) in right, (damaged.name, what)
    assert restored(path, lab) in right, (damaged.name, what)


# H01 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("H01")
def test_every_flipped_bit_is_found_before_anything_changes(
    made: StoredBackup, bench: Lab, full: bool, fault_seed: int
) -> None:
    there = copied(made, bench.root).path
    dice = random.Random(fault_seed)
    files = files_of(there)
    assert len(files) >= 9
    before = bench.state()
    for number in range(FLIPS if full else FLIPS_QUICK):
        path = files[number % len(files)]
        with intact(path) as good:
            bit = dice.randrange(8 * len(good))
            flip(path, bit)
            require_found(there, path, bench, bit)
    assert bench.state() == before
    assert verified(there, bench) == 0


@pytest.mark.fault("H01", quick=False)
@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS"])
def test_every_single_bit_of_what_proves_the_rest_is_found(tmp_path: Path, name: str) -> None:
    there = published(tmp_path / "backups").path
    path = there / name
    with intact(path) as good:
        for bit in range(8 * len(good)):
            path.write_bytes(good)
            flip(path, bit)
            assert is_refused(there), bit
    assert not is_refused(there)


def is_refused(path: Path) -> bool:
    try:
        return any(finding.is_damage for finding in check_files(load(path)))
    except QdrantBackupError:
        return True


@pytest.mark.fault("H01")
def test_a_backup_does_not_pass_for_one_of_the_original_scripts_with_a_bit_flipped(
    made: StoredBackup, bench: Lab
) -> None:
    there = copied(made, bench.root).path
    path = there / "manifest.json"
    with intact(path) as good:
        for damaged in (good.replace(b'"format": 1', b'"format": 0'), good.replace(b'"format"', b'"gormat"')):
            assert damaged != good
            path.write_bytes(damaged)
            require_found(there, path, bench, damaged)


def cuts_of(path: Path, dice: random.Random, *, full: bool) -> list[int]:
    """Sizes to cut a file to: nothing, a byte less, chance, and for an archive where a member ends."""
    size = path.stat().st_size
    cuts = {0, 1, size - 1, *(dice.randrange(size) for _ in range(8 if full else 1))}
    if path.suffix == ".snapshot":
        ends = member_ends(path.read_bytes())
        cuts |= set(ends if full else dice.sample(ends, 3))
    return sorted(cuts)


def member_ends(archive: bytes) -> list[int]:
    """Where the members of an archive end, the last one and the end blocks apart."""
    ends: list[int] = []
    at = 0
    while at < len(archive) and any(archive[at : at + tar.BLOCK_BYTES]):
        header = tar.parse_header(archive[at : at + tar.BLOCK_BYTES])
        more = header.extended
        at += tar.BLOCK_BYTES
        while more:
            _, more = tar.parse_extents(archive[at : at + tar.BLOCK_BYTES], extension=True)
            at += tar.BLOCK_BYTES
        at += header.stored_bytes + -header.stored_bytes % tar.BLOCK_BYTES
        ends.append(at)
    return ends


@pytest.mark.fault("H01")
def test_every_cut_is_found_before_anything_changes(
    made: StoredBackup, bench: Lab, full: bool, fault_seed: int
) -> None:
    there = copied(made, bench.root).path
    dice = random.Random(fault_seed)
    before = bench.state()
    for path in files_of(there):
        with intact(path) as good:
            for size in cuts_of(path, dice, full=full):
                path.write_bytes(good[:size])
                require_found(there, path, bench, size)
    assert bench.state() == before


@pytest.mark.fault("H01")
def test_an_archive_that_was_cut_before_it_was_hashed_is_found_by_its_members(
    made: StoredBackup, bench: Lab, full: bool, fault_seed: int
) -> None:
    dice = random.Random(fault_seed)
    there = copied(made, bench.root).path
    name = made.manifest.collections["docs"].snapshot
    good = (there / name).read_bytes()
    cuts = [*member_ends(good), *(dice.randrange(len(good)) for _ in range(20))]
    for size in cuts if full else dice.sample(cuts, 5):
        resigned(there, lambda _: None, {name: good[:size]})
        assert restored(there, bench) == INTEGRITY, size
        with pytest.raises(QdrantBackupError):
            verify(load(there), Level.ARCHIVE, bench.ports).raise_for_damage()


@pytest.mark.fault("H01")
def test_a_backup_by_the_original_scripts_that_recorded_a_cut_snapshot_is_found(
    bench: Lab, tmp_path: Path, full: bool, fault_seed: int
) -> None:
    original = unpack_original_backup(tmp_path / "original")
    dice = random.Random(fault_seed)
    collection = next(iter(original.expected_points))
    path = original.snapshot(collection)
    good = path.read_bytes()
    ends = member_ends(good)
    for size in ends if full else dice.sample(ends, 3):
        path.write_bytes(good[:size])
        manifest = original.backup_dir / "manifest.json"
        text = manifest.read_text().replace(f'"size_bytes": {len(good)}', f'"size_bytes": {size}')
        with intact(manifest):
            manifest.write_text(text)
            assert restored(original.backup_dir, bench) == INTEGRITY, size


# Through the command line: the last bit of each kind, and files that are not what they should be --------------------------


def of_the_backup(scene: Scene) -> Path:
    return scene.line.backups / scene.backup


def last_bit(relative: str) -> Callable[[Scene], None]:
    return lambda scene: flip(of_the_backup(scene) / relative, -1)


KINDS = {
    "qdrant/discussions.snapshot": (5,),
    "digest/discussions.digest": (5,),
    "config/.env": (5,),
    "RESTORE.txt": (5,),
    "SHA256SUMS": (5,),
    "manifest.json": (2,),
}
COMMANDS = {"verify": ("verify", "{backup}"), "restore": ("restore", "{backup}", "--force")}
QUICK = {("qdrant/discussions.snapshot", "restore"), ("digest/discussions.digest", "verify")}


def gone(relative: str) -> Callable[[Scene], None]:
    return lambda scene: (of_the_backup(scene) / relative).unlink()


def beside(relative: str) -> Callable[[Scene], None]:
    def put(scene: Scene) -> None:
        (of_the_backup(scene) / relative).write_text("mine")

    return put


def foreign(relative: str) -> Callable[[Scene], None]:
    """The file of a later backup in the place of this one's."""

    def swap(scene: Scene) -> None:
        assert scene.line.inside("backup").code == 0
        shutil.copyfile(scene.line.published()[-1] / relative, of_the_backup(scene) / relative)

    return swap


def exchanged(one: str, other: str) -> Callable[[Scene], None]:
    def swap(scene: Scene) -> None:
        first, second = of_the_backup(scene) / one, of_the_backup(scene) / other
        held = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(held)

    return swap


FLIPPED = [
    Case(
        "H01",
        f"last bit of {Path(relative).name} {verb}",
        words,
        exits,
        says=(Path(relative).name,),
        world=restore_world,
        damage=last_bit(relative),
        on=BOTH,
        quick=(relative, verb) in QUICK,
    )
    for relative, exits in KINDS.items()
    for verb, words in COMMANDS.items()
]

WRONG_FILES = {
    "snapshot missing": (gone("qdrant/discussions.snapshot"), 5, "discussions.snapshot"),
    "digest missing": (gone("digest/discussions.digest"), 5, "discussions.digest"),
    "config file missing": (gone("config/.env"), 5, ".env"),
    "checksums missing": (gone("SHA256SUMS"), 5, "SHA256SUMS"),
    "instructions missing": (gone("RESTORE.txt"), 5, "RESTORE.txt"),
    "manifest missing": (gone("manifest.json"), 2, "manifest.json"),
    "snapshot of another backup": (foreign("qdrant/discussions.snapshot"), 5, "discussions.snapshot"),
    "digest of another backup": (foreign("digest/discussions.digest"), 5, "discussions.digest"),
    "manifest of another backup": (foreign("manifest.json"), 5, "discussions.digest"),
    "checksums of another backup": (foreign("SHA256SUMS"), 5, "SHA256SUMS"),
    "snapshots exchanged": (
        exchanged("qdrant/discussions.snapshot", "qdrant/conventions.snapshot"),
        5,
        "conventions.snapshot",
    ),
    "digests exchanged": (exchanged("digest/discussions.digest", "digest/conventions.digest"), 5, "discussions.digest"),
}
MISPLACED = [
    Case(
        "H02",
        f"{what} {verb}",
        words,
        (exits,),
        says=(said,),
        world=restore_world,
        damage=damage,
        quick=(what, verb) in {("snapshot of another backup", "restore"), ("digests exchanged", "verify")},
    )
    for what, (damage, exits, said) in WRONG_FILES.items()
    for verb, words in COMMANDS.items()
] + [
    Case(
        "H02",
        "a file too many is named and harms nothing",
        COMMANDS["verify"],
        (0,),
        says=("notes.txt",),
        world=restore_world,
        damage=beside("qdrant/notes.txt"),
        quick=False,
    )
]


@pytest.mark.parametrize(("case", "kind"), parameters([*FLIPPED, *MISPLACED]))
def test_damage_through_the_command_line(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
