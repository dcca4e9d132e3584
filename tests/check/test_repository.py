"""What stands in the repository belongs there: no path of a machine, no registry, locks that fit the project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import qdrant_backup

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-release.lock", "requirements-fuzz.lock")

# Spelled in pieces, so that this file does not hold what it forbids.
HOMES = "|".join(("wo" + "rk", "bu" + "ild", "ro" + "ot", "home/[a-z]", "Us" + "ers/[a-z]"))
FOREIGN = {
    "a path of somebody's machine": re.compile(rf"(?<![\w./~$}}-])/(?:{HOMES})[\w.-]*/[\w.-]+"),
    "a registry's host": re.compile("py" + r"pi\.org|files\.python" + r"hosted|arti" + r"factory|nex" + "us[.-]"),
    "an index's address": re.compile(r"--(extra-)?index" + r"-url\b(?![`\s]*(?:#|\\$))|--find" + r"-links\b"),
}
ALLOWED = {"Makefile": {"an index's address"}}  # --no-emit-... keeps them out of the locks


def findings(name: str, text: str) -> list[str]:
    return [
        f"{name}:{text.count(chr(10), 0, found.start()) + 1} holds {what}: {found[0]}"
        for what, pattern in FOREIGN.items()
        if what not in ALLOWED.get(name, ())
        for found in pattern.finditer(text)
    ]


def repository_files() -> list[Path]:
    """What is or would be committed; without git (a source archive) everything outside hidden directories."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return [p for p in ROOT.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.parts)]
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


def locked(name: str) -> dict[str, str]:
    """Package to the text of its entries, markers and hashes included."""
    entries: dict[str, str] = {}
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            package = re.split(r"[=\[ ]", line, maxsplit=1)[0]
            entries[package] = entries.get(package, "") + line
    return entries


def normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=;! ]", requirement, maxsplit=1)[0]).lower()


def test_no_file_names_a_machine_or_a_registry():
    found: list[str] = []
    for path in repository_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += findings(path.relative_to(ROOT).as_posix(), text)

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "see /wo" + "rk/main/x.py",
        "'/ro" + "ot/.config/x'",
        "cd /home" + "/jane/project",
        "https://py" + "pi.org/simple",
        "--index" + "-url https://example.org",
    ],
)
def test_a_file_that_names_one_is_seen(text):
    assert findings("docs/x.md", text)


@pytest.mark.parametrize("text", ["cd /path/to/ai-memory", "~/.ai-memory/docker", "/qdrant/snapshots", "src/work/x"])
def test_paths_of_the_guide_are_no_machines(text):
    assert findings("docs/x.md", text) == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash_and_no_address(name):
    entries = locked(name)

    assert entries
    assert [package for package, entry in entries.items() if "--hash=sha256:" not in entry] == []
    assert "://" not in (ROOT / name).read_text("utf-8")


def test_the_locks_have_everything_that_the_project_asks_for():
    groups = PROJECT["dependency-groups"]
    runtime = {normal(text) for text in [*PROJECT["project"]["dependencies"], *groups["build"]]}
    developing = {normal(text) for name in ("test", "check") for text in groups[name] if isinstance(text, str)}

    assert runtime - set(locked("requirements.lock")) == set()
    assert developing - set(locked("requirements-dev.lock")) == set()


def test_both_locks_agree():
    runtime, developing = locked("requirements.lock"), locked("requirements-dev.lock")

    versions = {
        package: [set(re.findall(r"==(\S+)", entries[package].split("--hash")[0])) for entries in (runtime, developing)]
        for package in set(runtime) & set(developing)
    }
    assert {package: pair for package, pair in versions.items() if pair[0] != pair[1]} == {}


def test_the_package_and_the_project_have_one_version():
    assert PROJECT["project"]["version"] == qdrant_backup.__version__


def test_every_exception_from_a_linters_rule_has_a_reason():
    """A bare `noqa` hides more than it says, and one without a reason says nothing."""
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("src", "scripts", "bench")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(r"#\s*noqa(?!: [A-Z]+\d+(, ?[A-Z]+\d+)* - \w)", line)
        or re.search(r"#\s*(type|pyright): ?ignore(?!\[)", line)
    ]

    assert not bare
