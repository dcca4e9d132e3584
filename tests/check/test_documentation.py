"""The documentation and the code say the same: commands, flags, variables, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import write_docs
from qdrant_backup import errors
from qdrant_backup.cli.anomaly import ANOMALOUS
from qdrant_backup.cli.diff import DIFFERENT
from qdrant_backup.settings import VARIABLES
from support.prose import mistakes

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"])
KNOWN = {("backup",): {"--output", "--help"}, ("config",): {"--help"}, ("config", "show"): {"--json"}, (): {"--help"}}


def known_commands() -> dict[tuple[str, ...], set[str]]:
    known = {found.words[1:]: found.flags | {"--help"} for found in write_docs.commands()}
    alone = {
        (*found.words[1:], ""): found.flags for found in write_docs.commands() if hasattr(found.command, "default")
    }
    return known | alone


@pytest.mark.parametrize("path", ["commands.md", "settings.md", "exit-codes.md"])
def test_what_a_page_takes_from_the_code_is_up_to_date(path):
    page = DOCS / path

    assert page.read_text("utf-8") == write_docs.pages()[page], "run `make docs`"


def test_every_command_and_every_option_says_what_it_does():
    silent = [
        f"{' '.join(found.words)} {parameter.opts[0]}"
        for found in write_docs.commands()
        for parameter in found.command.params
        if parameter.param_type_name == "option" and not getattr(parameter, "help", None)
    ]
    silent += [" ".join(found.words) for found in write_docs.commands() if not found.command.help]

    assert not silent


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_calls_only_commands_and_flags_that_exist(page):
    found = mistakes(page.read_text("utf-8"), known_commands())

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("qdrant-backup bakup", "no command 'bakup'"),
        ("qdrant-backup config shwo", "no command 'shwo'"),
        ("qdrant-backup backup --outptu x", "no flag --outptu"),
        ("python scripts/backup_qdrant.py --force", "no flag --force"),
        (".venv/bin/qdrant-backup restore latest", "no command 'restore'"),
        ("cd x && qdrant-backup nothing", "no command 'nothing'"),
    ],
)
def test_a_page_that_is_wrong_about_a_command_is_seen(line, mistake):
    for page in (f"Call\n\n```bash\n{line}\n```\n", f"Call `{line}`.", f"Call\n\n    {line}\n"):
        [found] = mistakes(page, KNOWN)
        assert found == f"{mistake}: {line}"


@pytest.mark.parametrize(
    "line",
    [
        "qdrant-backup backup --output /x",
        "python scripts/backup_qdrant.py --output x",
        "qdrant-backup config show --json | jq --foo .",
        "qdrant-backup --help",
        "pip install qdrant-backup",
        "/opt/qdrant-backup/x",
    ],
)
def test_a_page_that_is_right_about_a_command_passes(line):
    assert mistakes(f"```\n{line}\n```\n", KNOWN) == []


def test_every_variable_is_on_the_settings_page():
    page = (DOCS / "settings.md").read_text("utf-8")

    assert [variable.name for variable in VARIABLES if f"`{variable.name}`" not in page] == []


def test_pages_name_no_variable_that_does_not_exist():
    names = {variable.name for variable in VARIABLES}
    names |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.secret}
    foreign = re.compile(r"^QDRANT_BACKUP_COMPLETE$|__")  # shell completion; Qdrant's own QDRANT__SERVICE__...
    for page in PAGES:
        used = set(re.findall(r"(?<![\w_])(?:QDRANT|AI_MEMORY|SNAPSHOT)_[A-Z0-9_]+\b", page.read_text("utf-8")))
        assert {name for name in used - names if not foreign.search(name)} == set(), page.name


def test_every_exit_code_is_explained():
    page = (DOCS / "exit-codes.md").read_text("utf-8")
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    codes = {
        code
        for kind in write_docs.error_classes()
        for code in (kind.codes.backup, kind.codes.restore, kind.codes.others)
    }

    assert explained == codes | {0, DIFFERENT, ANOMALOUS} | {
        errors.Interrupted(number).exit_code for number in (1, 2, 15)
    }


def test_the_tree_that_opens_errors_py_names_every_error():
    tree = errors.__doc__ or ""
    named = re.findall(r"^[ │├└─]*([A-Z]\w+)", tree.split("A message")[0], re.MULTILINE)
    classes = {kind.__name__ for kind in write_docs.error_classes()} | {"QdrantBackupError"}

    assert set(named) - {"Every", "KeyboardInterrupt"} == classes | {"Interrupted"}


def test_every_error_is_public_and_has_its_sentence():
    for kind in write_docs.error_classes():
        assert kind.__name__ in errors.__all__
        assert kind.__doc__


def test_a_page_without_a_place_for_the_code_is_an_error():
    with pytest.raises(ValueError, match="lacks the lines"):
        write_docs._with_block("# Page\n", "settings", "x")
