"""Writes what the documentation can take from the code: the commands, the settings, the exit code of each error.

`make docs` runs it, and `make check` fails when a page differs from what it would write.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qdrant_backup import errors
from qdrant_backup.cli.main import cli
from qdrant_backup.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_backup.settings import Variable

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "qdrant-backup"
BEGIN = "<!-- from the code, by `make docs`: {} -->"
END = "<!-- end -->"
COMMANDS_HEAD = """# Commands

Every command with its options, written from the commands themselves by `make docs`. What the options' defaults can be
replaced by stands in [settings](settings.md), what a command ends with in [exit codes](exit-codes.md).
"""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command as it is typed (`qdrant-backup config show`), and what click knows about it."""

    words: tuple[str, ...]
    command: click.Command

    @property
    def context(self) -> click.Context:
        """A context of fixed width, so that the page does not depend on the terminal; with the program's help options."""
        return click.Context(
            self.command,
            info_name=" ".join(self.words),
            terminal_width=100,
            max_content_width=100,
            help_option_names=cli.context_settings["help_option_names"],
        )

    @property
    def flags(self) -> set[str]:
        """Every option it takes, `--help` included, in all its spellings."""
        return {
            flag
            for parameter in self.command.get_params(self.context)
            if isinstance(parameter, click.Option)
            for flag in (*parameter.opts, *parameter.secondary_opts)
        }


def commands(command: click.Command = cli, words: tuple[str, ...] = (PROGRAM,)) -> Iterator[Command]:
    """The program and every command below it that is not hidden, in the order `--help` lists them."""
    found = Command(words, command)
    yield found
    if isinstance(command, click.Group):
        for name in command.list_commands(found.context):
            below = command.get_command(found.context, name)
            if below is not None and not below.hidden:
                yield from commands(below, (*words, name))


def commands_page() -> str:
    """docs/commands.md: the help of every command."""
    sections = [
        f"## {' '.join(found.words)}\n\n```text\n{found.command.get_help(found.context)}\n```\n" for found in commands()
    ]
    return "\n".join([COMMANDS_HEAD, *sections])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _setting(variable: Variable) -> tuple[str, ...]:
    names = f"`{variable.name}`" + (f", `{variable.name}_FILE`" if variable.secret else "")
    key = f"`{variable.key}_file`" if variable.secret else f"`{variable.key}`"
    return names, key, "" if variable.default is None else f"`{variable.default}`", _cell(variable.meaning)


def settings_table() -> str:
    """One line for each variable of settings.py."""
    return _table(
        ("variable", "key in `qdrant-backup.toml`", "default", "meaning"),
        [_setting(variable) for variable in VARIABLES],
    )


def error_classes() -> list[type[errors.QdrantBackupError]]:
    """The public errors that can end a command, in the order of errors.py."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [
        kind for kind in found if issubclass(kind, errors.QdrantBackupError) and kind is not errors.QdrantBackupError
    ]


def _meaning(kind: type[BaseException]) -> str:
    return _cell((kind.__doc__ or "").partition("\n\n")[0])


def errors_table() -> str:
    """One line for each error class: its meaning and its exit codes."""
    rows = [
        (f"`{kind.__name__}`", str(kind.codes.backup), str(kind.codes.restore), str(kind.codes.others), _meaning(kind))
        for kind in error_classes()
    ]
    signal = "128 + the signal's number"
    interrupted = ("`Interrupted`", signal, signal, signal, _meaning(errors.Interrupted))
    return _table(("error", "`backup`", "`restore`", "others", "meaning"), [*rows, interrupted])


def _with_block(page: str, name: str, block: str) -> str:
    """A page with the block of that name replaced.

    Raises:
        ValueError: the page has no place for it.
    """
    begin = BEGIN.format(name)
    before, opened, rest = page.partition(begin)
    _, closed, after = rest.partition(END)
    if not opened or not closed:
        message = f"a page lacks the lines {begin!r} and {END!r}"
        raise ValueError(message)
    return f"{before}{begin}\n{block}\n{END}{after}"


def pages() -> dict[Path, str]:
    """Every page that has something from the code, as it must be."""
    settings, codes = ROOT / "docs" / "settings.md", ROOT / "docs" / "exit-codes.md"
    return {
        ROOT / "docs" / "commands.md": commands_page(),
        settings: _with_block(settings.read_text("utf-8"), "settings", settings_table()),
        codes: _with_block(codes.read_text("utf-8"), "errors", errors_table()),
    }


def main() -> None:
    """Write the pages that differ, and say which."""
    for path, text in pages().items():
        old = path.read_text("utf-8") if path.exists() else ""
        if old != text:
            path.write_text(text, "utf-8")
        print(f"{'unchanged' if old == text else 'written'}: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
