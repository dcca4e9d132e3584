"""The loss on docs/looking-inside.md: every command is run as it stands there, and says what stands below it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from qdrant_backup.operations.demo import memory
from support.command import CommandLine
from support.servers import RunningServer
from support.worlds import lab_at

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "looking-inside.md").read_text("utf-8")
BLOCK = re.compile(r"^```bash\n(.*?)^```\n\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
DIFFERENT = 10


def story() -> list[tuple[str, list[str]]]:
    """The commands of the walk-through, each with the lines that its output must have."""
    [section] = re.findall(r"^## A loss, noticed a week later\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    assert section.count("```bash") == len(BLOCK.findall(section))
    return [(command.strip(), lines.splitlines()) for command, lines in BLOCK.findall(section)]


@pytest.mark.timeout(300)
def test_the_loss_goes_as_it_is_told(server: RunningServer, tmp_path: Path) -> None:
    line, lab = CommandLine.at(tmp_path, server), lab_at(server, tmp_path)
    memory.fill(lab.server)
    line.inside("backup").ok()
    whole = lab.content("discussions")
    memory.forget(lab.server)
    lost = lab.content("discussions")
    line.inside("backup").ok()

    told = story()
    for command, lines in told:
        program, *words = shlex.split(command)
        ran = line.inside(*words)

        assert program == "qdrant-backup"
        assert ran.code in ({0, DIFFERENT} if words[0] == "diff" else {0}), ran
        said = iter(ran.out.splitlines())
        for expected in lines:
            pattern = re.compile(".*".join(map(re.escape, expected.split("…"))))
            assert any(pattern.fullmatch(each) for each in said), (command, expected, ran.out)
        if words[0] == "recover":
            assert lab.content("discussions") == (lost if "--dry-run" in words else whole)

    assert [shlex.split(command)[1] for command, _ in told] == [
        *("diff", "diff", "history", "recover", "recover", "diff", "undo"),
    ]
    assert lab.content("discussions") == lost
