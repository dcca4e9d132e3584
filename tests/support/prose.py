"""What documentation says about commands, as facts that can be compared with the commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SCRIPTS = {"backup_qdrant.py": "backup", "restore_qdrant.py": "restore"}
_CALL = re.compile(r"(?:(?:\S*/)?qdrant-backup|python3? +scripts[/\\](?P<script>\w+\.py))(?P<rest>(?: +[^\n`#|;&]*)?)")
_FLAG = re.compile(r"(?<!\S)--?[a-z][\w-]*")
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_INDENTED = re.compile(r"^    (\S.*)$", re.MULTILINE)
_TOKEN = re.compile(r"[a-z][a-z-]*")


def code_lines(page: str) -> Iterator[str]:
    """The lines of a Markdown page that are code: fenced, indented, or between backticks."""
    page = page.replace("\\\n", " ")
    for block in _FENCE.findall(page):
        yield from block.splitlines()
    outside = _FENCE.sub("", page)
    yield from _INDENTED.findall(outside)
    yield from _INLINE.findall(outside)


def calls(page: str) -> Iterator[tuple[list[str], set[str], str]]:
    """Every call of the program on a page: the words that may name a command, the flags, and the line itself."""
    for line in code_lines(page):
        stripped = line.strip().removeprefix("$ ")
        for found in _CALL.finditer(stripped):
            before = stripped[: found.start()]
            if before and not re.search(r"(^|[\s;&|(])$", before):
                continue
            if re.search(r"(pip|pipx|cd|git|docker|uv tool) [^;&|]*$", before):
                continue
            rest = found["rest"].split()
            words = [_SCRIPTS[found["script"]]] if found["script"] in _SCRIPTS else []
            for word in rest:
                if not _TOKEN.fullmatch(word):
                    break
                words.append(word)
            yield words, set(_FLAG.findall(found["rest"])), stripped


def mistakes(page: str, known: Mapping[tuple[str, ...], set[str]]) -> list[str]:
    """The calls on a page that name a command or a flag that does not exist.

    Args:
        page: Markdown.
        known: every command by its words without the program's name, with its flags; the program itself is `()`. A group
            that takes other words too, as a command of its own, has an entry under one more word, which is empty.
    """
    found: list[str] = []
    for words, flags, line in calls(page):
        path: tuple[str, ...] = ()
        while len(path) < len(words) and (*path, words[len(path)]) in known:
            path = (*path, words[len(path)])
        takes_words = (*path, "") in known
        is_group = not takes_words and any(other[: len(path)] == path and len(other) > len(path) for other in known)
        if is_group and len(path) < len(words):
            found.append(f"no command {words[len(path)]!r}: {line}")
        elif unknown := flags - known[path] - known[()]:
            found.append(f"no flag {', '.join(sorted(unknown))}: {line}")
    return found
