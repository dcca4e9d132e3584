"""Design 6a, rule by rule: what keeps a restore from losing anything. (`test_undo` and `test_resume` have 4, 9 and 10.)"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from qdrant_backup.errors import (
    CollectionFailed,
    ContentUnreadable,
    Incompatible,
    Interrupted,
    Locked,
    RefusedForSafety,
    ServerRefused,
)
from qdrant_backup.model import CollectionName
from qdrant_backup.operations.restore.outcome import Outcome
from support.restoring import Lab, archive_bytes, path_of, plain_config, points_of, upload_instead

UPLOAD = "POST /collections/*/snapshots/upload"


def docs(lab: Lab) -> dict[str, Any]:
    """A backup of `docs`, changed since."""
    lab.make("docs", points_of(20), indexes={"rank": "integer"})
    lab.back_up()
    lab.put("docs", points_of(10, seed=2, first=15))
    return lab.state()


# 1 --------------------------------------------------------------------------------------------------------------------


def test_1_an_interrupted_upload_that_the_server_goes_on_with_is_waited_for_before_the_roll_back(
    patient_embedded: Lab,
) -> None:
    before = docs(patient_embedded)
    patient_embedded.running.script({"match": UPLOAD, "after": 1, "times": 1, "action": "slow_restore", "delay_s": 3.0})

    def abandoned(real: Callable[..., Any], name: str, **options: Any) -> Any:
        patient_embedded.server.hooks.clear()
        thread = threading.Thread(target=lambda: real(name, **options))
        thread.start()
        while not patient_embedded.server.recoveries_running(CollectionName(name)):
            patient_embedded.clock.sleep(0.05)
        uploads.append(thread)
        raise Interrupted(2)

    uploads: list[threading.Thread] = []
    patient_embedded.server.hooks["upload_snapshot"] = abandoned
    with pytest.raises(Interrupted):
        patient_embedded.restore()
    uploads[0].join()
    assert patient_embedded.state() == before
    assert patient_embedded.told.outcomes == {"docs": "previous content"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_1_a_deletion_that_the_server_calls_false_is_not_taken_for_one(lab: Lab) -> None:
    docs(lab)
    lab.delete("docs")
    said: list[bool] = []

    def pretends(real: Callable[..., Any], name: str) -> bool:
        said.append(True)
        return False if len(said) == 1 else real(name)

    lab.server.hooks["delete_collection"] = pretends
    lab.server.hooks["create_alias"] = lambda *_: None
    lab.server.hooks["upload_snapshot"] = upload_and_raise
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    assert dict(caught.value.outcomes) == {"docs": "gone"}
    assert len(said) == 2
    assert "docs" not in lab.state()


def upload_and_raise(real: Callable[..., Any], name: str, **options: Any) -> Any:
    real(name, **options)
    raise ServerRefused("no", status=500, why="out of luck")


# 2 --------------------------------------------------------------------------------------------------------------------


def write_during(lab: Lab, call: str, times: int) -> list[int]:
    written: list[int] = []

    def hook(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        answer = real(*args, **options)
        if len(written) < times:
            lab.put("docs", points_of(1, seed=100 + len(written), first=900 + len(written)))
            written.append(1)
        return answer

    lab.server.hooks[call] = hook
    return written


def test_2_a_write_during_the_safety_copy_has_it_taken_again(lab: Lab) -> None:
    docs(lab)
    write_during(lab, "create_snapshot", 1)
    lab.restore()
    (safety,) = lab.safety_copies()
    assert safety.manifest.collections["docs"].records == 26


def test_2_a_writer_who_goes_on_is_refused_and_nothing_is_touched(lab: Lab) -> None:
    docs(lab)
    write_during(lab, "create_snapshot", 9)
    with pytest.raises(RefusedForSafety, match="somebody writes to it") as caught:
        lab.restore()
    assert "--allow-writers" in caught.value.advice
    assert lab.server.calls("upload_snapshot") == []
    assert lab.journal() is None
    assert len(lab.content("docs")) == 27


def test_2_a_write_to_the_second_collection_while_the_first_is_restored_is_noticed(lab: Lab) -> None:
    lab.make("first", points_of(5))
    lab.make("second", points_of(5))
    lab.back_up()
    lab.put("first", points_of(2, seed=7))

    def write(real: Callable[..., Any], name: str, **options: Any) -> Any:
        real(name, **options)
        if name == "first" and not wrote:
            wrote.append(name)
            lab.put("second", points_of(1, seed=8, first=70))

    wrote: list[str] = []
    before = lab.state("first")
    lab.server.hooks["upload_snapshot"] = write
    with pytest.raises(RefusedForSafety, match="second is being written to") as caught:
        lab.restore()
    assert dict(caught.value.outcomes) == {"first": "previous content", "second": "untouched"}
    assert lab.state("first") == before
    assert len(lab.content("second")) == 6


def test_2_writers_may_be_allowed(lab: Lab) -> None:
    docs(lab)
    write_during(lab, "create_snapshot", 1)
    lab.restore(allow_writers=True)
    assert len(lab.content("docs")) == 20


def test_2_an_allowed_writer_who_writes_while_the_restore_is_verified_is_reported(lab: Lab) -> None:
    docs(lab)

    def write_first(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if lab.server.calls("upload_snapshot"):
            lab.put("docs", points_of(1, seed=100, first=900))
        return real(*args, **options)

    lab.server.hooks["create_snapshot"] = write_first
    report = lab.restore(allow_writers=True)
    assert len(lab.content("docs")) == 21
    assert "somebody wrote to it" in report.targets[0].unverified


def test_2_what_others_wrote_after_the_apply_is_kept_before_the_roll_back(lab: Lab) -> None:
    before = docs(lab)
    lab.make("later", points_of(3))
    lab.back_up("later")

    def write_and_fail(real: Callable[..., Any], alias: str, collection: str) -> None:
        lab.put("docs", points_of(4, seed=33, first=500))
        lab.server.hooks.clear()
        raise ServerRefused("no", status=500, why="out of luck")

    lab.delete("later")
    lab.alias("live", "docs")
    backup = lab.back_up()
    lab.call("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "live"}}]})
    lab.put("docs", points_of(2, seed=44, first=300))
    before = lab.state()
    lab.server.hooks["create_alias"] = write_and_fail
    with pytest.raises(CollectionFailed) as caught:
        lab.restore(backup)
    assert lab.state() == before
    assert "29 points are kept in" in caught.value.advice
    kept = [copy for copy in lab.safety_copies() if copy.manifest.collections["docs"].records == 29]
    assert len(kept) == 1


# 3 --------------------------------------------------------------------------------------------------------------------


def test_3_a_target_that_is_an_alias_is_refused(lab: Lab) -> None:
    lab.make("docs", points_of(5))
    lab.make("other", points_of(3, seed=4))
    lab.alias("nick", "other")
    lab.back_up()
    before = lab.state()
    with pytest.raises(RefusedForSafety, match="nick is an alias of other"):
        lab.restore(collections=("docs",), rename={"docs": "nick"})
    assert lab.state() == before


def test_3_two_collections_to_one_target_are_refused(lab: Lab) -> None:
    lab.make("docs", points_of(5))
    lab.make("other", points_of(3))
    lab.back_up()
    with pytest.raises(RefusedForSafety, match="2 collections would be restored to both"):
        lab.restore(rename={"docs": "both", "other": "both"})
    with pytest.raises(RefusedForSafety, match="2 collections would be restored to other"):
        lab.restore(rename={"docs": "other"})


@pytest.mark.fault("Q14")
def test_3_an_alias_of_the_backup_with_the_name_of_a_live_collection_is_refused(lab: Lab) -> None:
    lab.make("docs", points_of(5))
    lab.alias("live", "docs")
    lab.back_up()
    lab.delete("docs")
    lab.make("live", points_of(2))
    before = lab.state()
    with pytest.raises(RefusedForSafety, match="alias live has the name of a collection"):
        lab.restore()
    assert lab.state() == before


def test_3_an_alias_that_appears_before_the_upload_is_noticed(lab: Lab) -> None:
    lab.make("a", points_of(5))
    lab.make("b", points_of(5))
    lab.make("third", points_of(3, seed=5))
    lab.back_up("a", "b")
    lab.delete("b")
    before = lab.state("third")

    def occupy(real: Callable[..., Any], name: str, **options: Any) -> Any:
        real(name, **options)
        lab.server.hooks.clear()
        lab.alias("b", "third")

    lab.server.hooks["upload_snapshot"] = occupy
    with pytest.raises(RefusedForSafety, match="b is an alias of third"):
        lab.restore()
    assert lab.content("third") == before["third"]["content"]
    assert [name for (name,) in lab.server.calls("upload_snapshot")] == ["a"]


# 5 --------------------------------------------------------------------------------------------------------------------


def test_5_a_roll_back_restores_config_indexes_and_aliases_exactly(lab: Lab) -> None:
    lab.make("docs", points_of(20), indexes={"rank": "integer", "group": "keyword"})
    lab.alias("live", "docs")
    lab.back_up()
    lab.delete("docs")
    lab.make("docs", points_of(8, seed=3), {"vectors": {"size": 4, "distance": "Euclid"}}, {"text": "text"})
    lab.make("other", [])
    lab.alias("live", "other")
    lab.alias("second", "docs")
    before = lab.state()
    lab.server.hooks["upload_snapshot"] = lambda real, name, **options: (
        lab.server.hooks.clear(),
        upload_and_raise(real, name, **options),
    )
    with pytest.raises(CollectionFailed):
        lab.restore(replace=True)
    assert lab.state() == before


def test_5_foreign_indexes_that_the_restore_brought_are_removed(lab: Lab) -> None:
    lab.make("docs", points_of(20), indexes={"rank": "integer", "group": "keyword"})
    lab.back_up()
    for field in ("rank", "group"):
        lab.call("DELETE", path_of("docs", "index", f"{field}?wait=true"))
    lab.index("docs", "group", {"type": "keyword", "is_tenant": True})
    lab.put("docs", points_of(3, seed=5))
    before = lab.state()
    strikes = [upload_instead(lambda archive: archive)]

    def fail_after(real: Callable[..., Any], *args: Any) -> None:
        real(*args)
        if strikes and len(lab.server.calls("create_payload_index")) == 2:
            strikes.clear()
            raise ServerRefused("no", status=500, why="out of luck")

    lab.server.hooks["create_payload_index"] = fail_after
    with pytest.raises(CollectionFailed):
        lab.restore()
    assert lab.state() == before


# 6 --------------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("Q07")
def test_6_a_roll_back_looks_first_and_uploads_nothing_to_what_is_intact(lab: Lab) -> None:
    before = docs(lab)

    def refuse(real: Callable[..., Any], name: str, **options: Any) -> Any:
        raise ServerRefused("no", status=500, why="no space left on device")

    lab.server.hooks["upload_snapshot"] = refuse
    with pytest.raises(CollectionFailed) as caught:
        lab.restore()
    assert dict(caught.value.outcomes) == {"docs": Outcome.UNTOUCHED.value}
    assert len(lab.server.calls("upload_snapshot")) == 1
    assert lab.state() == before


def test_6_the_failed_uploads_file_is_deleted(lab: Lab) -> None:
    docs(lab)
    strikes = [1]

    def fail(real: Callable[..., Any], name: str, **options: Any) -> Any:
        real(name, **options)
        if strikes:
            strikes.clear()
            raise ServerRefused("no", status=500, why="out of luck")

    lab.server.hooks["upload_snapshot"] = fail
    with pytest.raises(CollectionFailed):
        lab.restore()
    assert lab.left_on_server() == []


# 8 --------------------------------------------------------------------------------------------------------------------


def test_8_content_that_nobody_could_verify_needs_a_typed_flag(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.make("docs", points_of(5))

    def cannot(*_: object, **__: object) -> Any:
        raise ContentUnreadable("The embedded engine cannot open the snapshot", why="it is too old")

    monkeypatch.setattr("qdrant_backup.engine.engine.DigestSink.finish", cannot)
    lab.back_up()
    lab.put("docs", points_of(3, seed=3, first=10))
    with pytest.raises(RefusedForSafety, match="could not be verified") as caught:
        lab.restore()
    assert "--allow-unverified" in caught.value.advice
    assert lab.server.calls("upload_snapshot") == []
    report = lab.restore(allow_unverified=True)
    assert len(lab.content("docs")) == 5
    assert "it is too old" in report.targets[0].unverified
    assert any("unverified" in warning for warning in report.warnings)


@pytest.mark.fault("Q08")
def test_8_a_broken_target_cannot_be_copied_and_the_message_names_the_flag(embedded: Lab) -> None:
    embedded.make("docs", points_of(20))
    before = embedded.state()
    backup = embedded.back_up()
    archive = (backup.path / "qdrant/docs.snapshot").read_bytes()
    embedded.running.script({"match": UPLOAD, "times": 1, "action": "fail_after_drop"})
    assert embedded.running.upload(path_of("docs", "snapshots/upload"), archive)[0] == 500
    with pytest.raises(RefusedForSafety, match="broken") as caught:
        embedded.restore()
    assert "--no-safety" in caught.value.advice
    embedded.restore(no_safety=True)
    assert embedded.state() == before


# 11 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("Q18")
def test_11_a_name_that_the_server_lists_is_never_uploaded_under(lab: Lab) -> None:
    docs(lab)
    archive = archive_bytes(lab.ports.directory.find("latest"), "docs")
    status, _ = lab.running.upload(path_of("docs", "snapshots/upload"), archive, "qdrant-backup-taken.snapshot")
    assert status == 200
    names: list[str] = []
    tokens = itertools.chain.from_iterable((f"t{number}", "taken") for number in itertools.count())

    def watch(real: Callable[..., Any], name: str, **options: Any) -> Any:
        names.append(options["snapshot_name"])
        return real(name, **options)

    lab.server.hooks["upload_snapshot"] = watch
    for _ in range(2):
        lab.ports = dataclasses.replace(lab.ports, token=lambda: next(tokens))
        lab.restore()
        next(tokens)
    assert len(names) == 2
    assert "qdrant-backup-taken.snapshot" not in names
    assert lab.left_on_server() == ["qdrant-backup-taken.snapshot"]


# 12 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("Q14")
def test_12_aliases_move_one_by_one_after_every_collection_is_verified(lab: Lab) -> None:
    lab.make("a", points_of(3))
    lab.make("b", points_of(3, seed=2))
    for alias, collection in {"one": "a", "two": "a", "three": "b"}.items():
        lab.alias(alias, collection)
    lab.back_up()
    for alias in ("one", "two", "three"):
        lab.alias(alias, "b" if alias != "three" else "a")
    lab.restore()
    assert lab.aliases() == {"one": "a", "two": "a", "three": "b"}
    calls = [call for call, _ in lab.server.called if call in {"upload_snapshot", "create_alias"}]
    assert calls == ["upload_snapshot"] * 2 + ["create_alias"] * 3


@pytest.mark.fault("Q14")
def test_12_an_alias_that_the_server_does_not_show_afterwards_fails_the_restore(lab: Lab) -> None:
    lab.make("a", points_of(3))
    lab.alias("one", "a")
    lab.back_up()
    lab.call("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "one"}}]})
    lab.server.hooks["create_alias"] = lambda *_: None
    before = lab.state()
    with pytest.raises(CollectionFailed, match="alias one does not point at a"):
        lab.restore()
    assert lab.state() == before


# 14 -------------------------------------------------------------------------------------------------------------------


def test_14_a_second_run_at_the_same_time_is_refused(lab: Lab) -> None:
    docs(lab)
    second = Lab(lab.running, lab.root, lab.scratch / "second")

    def meanwhile(real: Callable[..., Any], name: str, **options: Any) -> Any:
        with pytest.raises(RefusedForSafety, match="has not ended"):
            second.restore()
        with pytest.raises(Locked):
            second.undo()
        with pytest.raises(Locked):
            second.back_up()
        real(name, **options)

    lab.server.hooks["upload_snapshot"] = meanwhile
    lab.restore()


@pytest.mark.fault("Q12")
def test_the_configs_that_do_not_fit_are_refused_with_the_difference(lab: Lab) -> None:
    lab.make("docs", points_of(3))
    lab.back_up()
    lab.delete("docs")
    lab.make("docs", [], plain_config(7))
    with pytest.raises(Incompatible, match=r"params\.vectors\.size: 4 in the backup, 7 on the server") as caught:
        lab.restore()
    assert "--replace" in caught.value.advice
    lab.delete("docs")
    lab.make("docs", [], {**plain_config(), "shard_number": 2})
    with pytest.raises(Incompatible, match="shard_number"):
        lab.restore()
    lab.delete("docs")
    lab.make("docs", [], {**plain_config(), "sparse_vectors": {"words": {}}})
    with pytest.raises(Incompatible, match=r"sparse_vectors\[words\]"):
        lab.restore()
