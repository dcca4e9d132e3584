"""What a case of the fault matrix is: data that says what goes wrong, and what must come of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from faults.matrix import ROWS
from support.relay import Rule

if TYPE_CHECKING:
    from faults.harness.injection import Injection
    from faults.harness.scene import Scene

__all__ = ["BOTH", "EMBEDDED", "REAL", "Case", "parameters", "quick_on_embedded"]

EMBEDDED = ("embedded",)
REAL = ("real",)
BOTH = ("embedded", "real")


@dataclasses.dataclass(frozen=True)
class Case:
    """One fault, against one command.

    Attributes:
        row: the row of the matrix that it is of.
        fact: what goes wrong, in words; names the test.
        run: the command; `{backup}` stands for the backup that `scene.backup` names.
        exits: the exit codes that are right.
        says: words that the command's two streams must contain.
        silent: words that they must not contain.
        network: rules of the relay between the command and the server; each must be used as often as it says.
        script: scripted faults of the embedded server; each must strike as often as `times` says (at least once where
            that is null).
        system: system calls that fail, by strace.
        world: fills the server and the directories before anything goes wrong; None takes the usual one of the command.
        damage: done when the world stands: crafted files, states and servers.
        during: called with the running process: signals, and what others do meanwhile.
        mend: takes away what `damage` and `during` did, before the promises are checked: a disk is whole again.
        settings: environment variables of the command.
        options: arguments of the process: limits by `preexec_fn`, streams.
        on: the kinds of server.
        needs: programs and rights without which it cannot run; it is reported as not run then.
        quick: it is part of `make test`, where its row is.
        skips: promises that this case cannot keep by its nature, with the reason.
        also: promises that are checked besides those of its row.
    """

    row: str
    fact: str
    run: Sequence[str]
    exits: Sequence[int]
    says: Sequence[str] = ()
    silent: Sequence[str] = ()
    network: Sequence[Rule] = ()
    script: Sequence[Mapping[str, Any]] = ()
    system: Injection | None = None
    world: Callable[[Scene], None] | None = None
    damage: Callable[[Scene], None] | None = None
    during: Callable[[Scene, Any], None] | None = None
    mend: Callable[[Scene], None] | None = None
    settings: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    on: Sequence[str] = EMBEDDED
    needs: Sequence[str] = ()
    quick: bool = True
    skips: Mapping[str, str] = dataclasses.field(default_factory=dict)
    also: Sequence[str] = ()

    def __post_init__(self) -> None:
        assert self.row in ROWS, self.row
        assert not ROWS[self.row].pending, f"{self.row} waits: {ROWS[self.row].pending}"
        assert not self.script or tuple(self.on) == EMBEDDED, "only the embedded server follows a script"

    @property
    def guarantees(self) -> tuple[str, ...]:
        """The promises that are checked when it has run."""
        return tuple(sorted({*ROWS[self.row].guarantees, *self.also} - set(self.skips)))

    @property
    def in_quick(self) -> bool:
        """Whether `make test` runs it."""
        return self.quick and ROWS[self.row].quick


def parameters(cases: Sequence[Case]) -> list[Any]:
    """The cases as pytest's parameters, each once for every kind of server that it is for."""
    made: list[Any] = []
    for case in cases:
        for kind in case.on:
            marks = [pytest.mark.fault(case.row, quick=case.in_quick)]
            if kind == "real":
                marks.append(pytest.mark.real)
            made.append(pytest.param(case, kind, id=f"{case.row}-{case.fact.replace(' ', '-')}-{kind}", marks=marks))
    return made


def quick_on_embedded(cases: Sequence[Case]) -> list[Case]:
    """The same cases; `make test` runs the quick ones on the embedded server alone, which saves half of their time."""
    made: list[Case] = []
    for case in cases:
        if case.in_quick and len(case.on) > 1:
            made.append(dataclasses.replace(case, on=EMBEDDED))
            made.append(dataclasses.replace(case, on=[kind for kind in case.on if kind != "embedded"], quick=False))
        else:
            made.append(case)
    return made
