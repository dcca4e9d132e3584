"""What a release is checked with: a bill of materials that lists all that is locked, and an audit that cannot pass unheard."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import check_release
import write_sbom

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(write_sbom.sbom(PROJECT, LOCK))


def test_the_bill_of_materials_lists_every_locked_package_with_every_hash(document: dict[str, Any]) -> None:
    listed = {
        (each["name"], each["version"]): {h["content"] for h in each["hashes"]} for each in document["components"]
    }
    pinned = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", LOCK, re.MULTILINE)

    assert len(pinned) > 10
    assert set(listed) == {(write_sbom.normal(name), version) for name, version in pinned}
    assert set.union(*listed.values()) == set(re.findall(r"sha256:([0-9a-f]{64})", LOCK))


def test_it_names_what_we_are_and_what_we_ask_for(document: dict[str, Any]) -> None:
    root = document["metadata"]["component"]
    direct = next(each for each in document["dependencies"] if each["ref"] == root["bom-ref"])["dependsOn"]

    assert (root["name"], root["version"]) == ("qdrant-backup", PROJECT["project"]["version"])
    assert {reference.split("/")[-1].split("@")[0] for reference in direct} == {
        write_sbom.normal(text) for text in PROJECT["project"]["dependencies"]
    }


def test_the_same_lock_gives_the_same_bytes_and_another_one_does_not() -> None:
    text = write_sbom.sbom(PROJECT, LOCK)

    assert write_sbom.sbom(PROJECT, LOCK) == text
    assert json.loads(write_sbom.sbom(PROJECT, LOCK + "# more\n"))["serialNumber"] != json.loads(text)["serialNumber"]
    assert "timestamp" not in text


def test_a_line_that_pins_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="pins nothing"):
        write_sbom.locked("click>=8\n")


SOUND = {"dependencies": [{"name": "click", "version": "8", "vulns": []}]}
VULNERABLE = {"name": "click", "version": "8", "vulns": [{"id": "CVE-1", "fix_versions": ["9"]}]}


def test_an_audit_passes_only_when_every_package_was_judged() -> None:
    assert check_release.verdict(SOUND) == []
    assert "CVE-1" in check_release.verdict({"dependencies": [VULNERABLE]})[0]
    assert "not reached" in check_release.verdict({"dependencies": [{"name": "click", "skip_reason": "no answer"}]})[0]
    assert check_release.verdict({"dependencies": []})
