"""Q05 to Q14: what a server does to a restore, and what stands there afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from faults.conftest import Play
from faults.harness.case import BOTH, Case, parameters, quick_on_embedded
from faults.harness.scene import Scene
from faults.harness.worlds import FIVE, NAME, changed, five_changed, one_changed
from support.relay import Answer, Rewrite, Rule
from support.restoring import named_config, plain_config, points_of

HERE = f"/collections/{NAME}"
UPLOAD = f"POST {HERE}/snapshots/upload[?]wait=true*"
SCRIPTED = f"POST {HERE}/snapshots/upload"
RESTORE = ("restore", "{backup}", "--force")
BACK, ALONE = "previous content", "untouched"
PUT_BACK = (BACK, "Everything is as it was before")
FULL = Answer(500, b'{"status":{"error":"No space left on device (os error 28)"},"time":0}')
SHORT = {"QDRANT_BACKUP_SERVER_WAIT": "6"}


def strike(action: str, times: int | None = 1, **more: Any) -> dict[str, Any]:
    """What the embedded server does to uploads to the collection; the probe for the right to upload comes first."""
    return {"match": SCRIPTED, "after": 1, "times": times, "action": action, **more}


STATES = {
    "partial": (rb'"state":"Active"', b'"state":"Partial"', f"GET {HERE}/cluster"),
    "dead": (rb'"state":"Active"', b'"state":"Dead"', f"GET {HERE}/cluster"),
    "recovering": (rb'"state":"Active"', b'"state":"Recovery"', f"GET {HERE}/cluster"),
    "yellow": (rb'"status":"green"', b'"status":"yellow"', f"GET {HERE}"),
}


def unready(what: str, times: int | None) -> Case:
    """The state is shown from the upload on: for a while, or for ever."""
    pattern, replacement, route = STATES[what]

    def damage(scene: Scene) -> None:
        relay = scene.through_relay()
        relay.rules.append(AfterUpload(route, Rewrite(pattern, replacement), times, relay=relay))

    good = times is not None or what == "yellow"
    return Case(
        "Q05",
        f"shards are {what} {'for a while' if times else 'for ever'}",
        RESTORE,
        (0,) if good else (4,),
        () if good else ("NOT RESTORED",),
        world=one_changed,
        damage=damage,
        settings={} if good else SHORT,
        on=BOTH,
        quick=what == "dead" and times is not None,
    )


@dataclasses.dataclass
class AfterUpload(Rule):
    """A rule that begins when the upload has come by."""

    relay: Any = None

    def meets(self, line: str) -> bool:
        begun = any("/snapshots/upload?wait=true" in seen for seen in self.relay.seen)
        return begun and super().meets(line)


READY = [unready(what, times) for what in STATES for times in (3, None)]
BEFORE = "Everything is as it was before"
WRONG = [
    Case(
        "Q06",
        fact,
        RESTORE,
        (4,),
        (BEFORE, *says),
        script=(strike(action, **more),),
        world=one_changed,
        quick=action == "lose_points",
    )
    for fact, action, more, says in (
        ("2 points are missing", "lose_points", {"points": 2}, (BACK, "18 points are there, the backup has 20")),
        ("all points are missing", "lose_shard", {}, (BACK, "0 points are there, the backup has 20")),
        ("nothing was done at all", "pretend", {}, (ALONE, "21 points are there, the backup has 20; 5 points differ")),
        ("a page and nothing done", "html", {}, (ALONE,)),
    )
]
DROPPED = [
    Case(
        "Q07",
        "500 after the old data was dropped",
        RESTORE,
        (4,),
        PUT_BACK,
        script=(strike("fail_after_drop"),),
        world=one_changed,
    ),
    Case(
        "Q07",
        "500 after the old data was dropped and streaming alone has room",
        (*RESTORE, "--replace"),
        (4,),
        PUT_BACK,
        script=(strike("fail_after_drop"),),
        world=one_changed,
        quick=False,
    ),
    Case(
        "Q07",
        "the disk is full from the upload on and nobody can say what is there",
        RESTORE,
        (4,),
        ("Everything is as it was before", "untouched"),
        network=(
            Rule(UPLOAD, FULL, times=None),
            Rule(f"POST {HERE}/snapshots[?]wait=true", FULL, times=None, after=1),
            Rule(f"GET {HERE}/shards/0/snapshot", FULL, times=None),
        ),
        world=one_changed,
        on=BOTH,
        quick=False,
    ),
    Case(
        "Q08",
        "500 after the old data was dropped and for every later upload",
        RESTORE,
        (4,),
        ("NOT RESTORED", ".safety-", "qdrant-backup undo --yes --output"),
        script=(strike("fail_after_drop", times=None),),
        world=one_changed,
        quick=False,
    ),
    Case(
        "Q08",
        "500 after the old data was dropped and then a refusal",
        RESTORE,
        (4,),
        ("NOT RESTORED", ".safety-", "qdrant-backup undo --yes --output"),
        script=(strike("fail_after_drop"), strike("status", times=None, code=500, body="out of luck")),
        world=one_changed,
        quick=False,
    ),
    Case(
        "Q08",
        "no safety copy and 500 after the old data was dropped",
        (*RESTORE, "--no-safety"),
        (4,),
        ("NOT RESTORED", "There is no safety backup"),
        script=(strike("fail_after_drop"),),
        world=one_changed,
        quick=False,
        skips={"G4": "`--no-safety` gives up the way back, and says so"},
    ),
]


def third_of_five(fact: str, says: tuple[str, ...], *, quick: bool = False, **faults: Any) -> Case:
    kept = tuple(f"{name}: {words}" for name, words in zip(FIVE, says, strict=True))
    return Case("Q10", fact, RESTORE, (4,), kept, world=five_changed, quick=quick, **faults)


THIRD = f"/collections/{FIVE[2]}/snapshots/upload"
FIFTH = (BACK, BACK, BACK, ALONE, ALONE)
FIVES = [
    third_of_five(
        "the third upload is refused",
        (BACK, BACK, ALONE, ALONE, ALONE),
        network=(Rule(f"POST {THIRD}[?]wait=true*", Answer(500, b'{"status":{"error":"no"},"time":0}')),),
        on=BOTH,
    ),
    third_of_five(
        "the third upload drops the old data and fails",
        FIFTH,
        script=({"match": f"POST {THIRD}", "after": 1, "action": "fail_after_drop"},),
    ),
    third_of_five(
        "the third upload loses a point",
        FIFTH,
        script=({"match": f"POST {THIRD}", "after": 1, "action": "lose_points"},),
    ),
]


def versions(version: str, code: int, *options: str, quick: bool = False) -> Case:
    """The backup says that it is of this version, and its checksums fit."""

    def damage(scene: Scene) -> None:
        from support.damaged import resigned

        resigned(scene.line.backups / scene.backup, lambda raw: raw["server"].update(version=version))

    return Case(
        "Q11",
        f"a snapshot of {version or 'an unknown version'} {' '.join(options)}".strip(),
        (*RESTORE, *options),
        (code,),
        (version or "version",) if code or options else (),
        world=one_changed,
        damage=damage,
        quick=quick,
        on=BOTH,
    )


VERSIONS = [
    *(versions(version, 0) for version in ("1.18.0", "1.17.9", "")),
    versions("1.19.0", 7, quick=True),
    versions("1.16.4", 7),
    *(versions(version, 7) for version in ("2.0.0", "0.11.0", "1.20.1")),
    *(versions(version, 0, "--allow-version") for version in ("1.19.0", "1.16.4")),
]


def target(config: Mapping[str, Any], *, kept: bool = False) -> Callable[[Scene], None]:
    """The target was made anew with another configuration, which a restore keeps or not."""

    def world(scene: Scene) -> None:
        scene.lab.make(NAME, points_of(20), plain_config(), indexes={"group": "keyword"})
        changed(scene)
        scene.lab.delete(NAME)
        scene.lab.make(NAME, [], dict(config))
        if kept and scene.goal is not None:
            scene.goal[NAME]["config"] = scene.lab.state(NAME)[NAME]["config"]

    return world


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "a size": (plain_config(7), "params.vectors.size: 4 in the backup, 7 on the server"),
    "a distance": ({"vectors": {"size": 4, "distance": "Cosine"}}, "params.vectors.distance"),
    "a datatype": ({"vectors": {"size": 4, "distance": "Dot", "datatype": "float16"}}, "params.vectors.datatype"),
    "named vectors": (named_config(), "params.vectors"),
    "sparse vectors": ({**plain_config(), "sparse_vectors": {"words": {}}}, "sparse_vectors[words]"),
    "shards": ({**plain_config(), "shard_number": 2}, "params.shard_number"),
}
TUNED: dict[str, dict[str, Any]] = {
    "HNSW": {**plain_config(), "hnsw_config": {"m": 8, "ef_construct": 50}},
    "quantization": {**plain_config(), "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99}}},
    "optimizers": {**plain_config(), "optimizers_config": {"deleted_threshold": 0.5}},
}
TARGETS = [
    *(
        Case(
            "Q12",
            f"the target has other {what}".replace("other a ", "another "),
            RESTORE,
            (7,),
            (says, "--replace"),
            world=target(config),
            quick=what == "a size",
            on=BOTH,
        )
        for what, (config, says) in OTHERS.items()
    ),
    Case(
        "Q12",
        "the target has custom sharding",
        RESTORE,
        (7,),
        ("sharding_method",),
        network=(
            Rule(f"GET {HERE}", Rewrite(rb'"shard_number":1', b'"shard_number":1,"sharding_method":"custom"'), None),
        ),
        world=one_changed,
        quick=False,
    ),
    *(
        Case(
            "Q12",
            f"the target has another {what} which is kept",
            RESTORE,
            (0,),
            world=target(config, kept=True),
            on=BOTH,
            quick=False,
        )
        for what, config in TUNED.items()
    ),
    Case(
        "Q12",
        "another size is replaced when told so",
        (*RESTORE, "--replace"),
        (0,),
        world=target(plain_config(7)),
        on=BOTH,
        quick=False,
    ),
]
INDEX = f"PUT {HERE}/index[?]*"
DONE = b'{"result":{"operation_id":1,"status":"completed"},"status":"ok","time":0}'


def without_rank(scene: Scene) -> None:
    relay = scene.through_relay()
    relay.rules.append(AfterUpload(f"GET {HERE}", Rewrite(rb'"rank":', b'"another":'), times=None, relay=relay))


INDEXES = [
    Case(
        "Q13",
        "the recovery loses all indexes",
        RESTORE,
        (0,),
        script=(strike("drop_indexes"),),
        world=one_changed,
        quick=False,
    ),
    Case(
        "Q13",
        "an index is refused",
        RESTORE,
        (4,),
        PUT_BACK,
        network=(Rule(INDEX, Answer(500, b'{"status":{"error":"no index"},"time":0}')),),
        world=one_changed,
        on=BOTH,
        quick=False,
    ),
    Case(
        "Q13",
        "an index is accepted and not there",
        RESTORE,
        (4,),
        ("rank", "payload indexes"),
        network=(Rule(INDEX, Answer(200, DONE), times=None),),
        world=one_changed,
        damage=without_rank,
        on=BOTH,
        quick=False,
        skips={"G1": "the relay lies about the schema for as long as the run lasts, also while things are put back"},
    ),
]


def alias_world(kind: str) -> Callable[[Scene], None]:
    def world(scene: Scene) -> None:
        scene.lab.make(NAME, points_of(20), plain_config())
        scene.lab.make("other", points_of(4, seed=9))
        scene.lab.alias("talk", NAME)
        scene.lab.alias("second", NAME)
        changed(scene, NAME)
        for alias in ("talk", "second"):
            scene.lab.call("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": alias}}]})
        if kind == "moved":
            scene.lab.alias("talk", "other")
        if kind == "collection":
            scene.lab.make("talk", points_of(2))
            assert scene.goal is not None
            scene.goal["talk"] = scene.lab.state("talk")["talk"]

    return world


ALIAS = "POST /collections/aliases"
ALIASES = [
    Case("Q14", "aliases are missing", RESTORE, (0,), world=alias_world("missing"), on=BOTH),
    Case(
        "Q14", "an alias belongs to another collection", RESTORE, (0,), ("talk",), world=alias_world("moved"), on=BOTH
    ),
    Case(
        "Q14",
        "a collection has the alias's name",
        RESTORE,
        (8,),
        ("alias talk has the name of a collection",),
        world=alias_world("collection"),
        on=BOTH,
    ),
    Case(
        "Q14",
        "the second alias is refused",
        RESTORE,
        (4,),
        PUT_BACK,
        network=(Rule(ALIAS, Answer(500, b'{"status":{"error":"no"},"time":0}'), after=2),),
        world=alias_world("moved"),
        on=BOTH,
    ),
    Case(
        "Q14",
        "an alias is accepted and not there",
        RESTORE,
        (4,),
        ("does not point at",),
        network=(Rule(ALIAS, Answer(200, b'{"result":true,"status":"ok","time":0}'), after=1),),
        world=alias_world("moved"),
        on=BOTH,
    ),
]
CASES = quick_on_embedded([*READY, *WRONG, *DROPPED, *FIVES, *VERSIONS, *TARGETS, *INDEXES, *ALIASES])


@pytest.mark.parametrize(("case", "kind"), parameters(CASES))
def test_restores(case: Case, kind: str, play_case: Play) -> None:
    play_case(case, kind)
