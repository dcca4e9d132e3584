"""One case for each system call of a command: every one of them, or a sample."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from faults.harness.case import Case
from faults.harness.injection import Injection, Strike, shape, strikes
from faults.harness.play import play
from faults.harness.scene import Scene
from support.servers import RunningServer

__all__ = ["Enumeration", "strike_all", "traced"]

_PROMISE = re.compile(r"^G[1-7]: ", re.MULTILINE)
ATTEMPTS = 12
"""The number of a call may differ from run to run, since a download comes in pieces as it likes; then it is tried again,
at the number that the call had in the run that missed it."""

LATER = 7
"""By how many pieces more than usual a download may come, of those runs that are waited for."""

SCRATCH = "/.scratch/"
"""Where archives are unpacked: the engine's own work, which nothing is restored from."""


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """What is done to which calls.

    Attributes:
        case: the command and what must hold after each of its runs; its exits are those of `exits`.
        calls: system calls, as strace names them.
        fault: what each meets in its turn, without the `:when=`.
        persistent: so do all that follow it.
        picked: which of the calls below the backup directory are meant.
        exits: the exit codes that are right when this one is struck.
        after: what else must hold after a run, by its log: raises AssertionError.
    """

    case: Case
    calls: str
    fault: str
    persistent: bool = False
    picked: Callable[[Strike], bool] = lambda _: True
    exits: Callable[[Strike], Sequence[int]] | None = None
    after: Callable[[Strike, Path], None] = lambda *_: None


def traced(wanted: Enumeration, server: RunningServer, directory: Path) -> list[Strike]:
    """The calls that an undisturbed run makes, of those that are meant."""
    scene = Scene(server, directory)
    try:
        assert wanted.case.world is not None
        wanted.case.world(scene)
        case = dataclasses.replace(wanted.case, system=Injection(wanted.calls))
        watched = scene.run(case)
        assert watched.ran.code == 0, watched.ran
        where = f"{scene.line.backups}"
        found = [each for each in strikes(scene.log, where) if SCRATCH not in each.line and wanted.picked(each)]
        assert found, f"no call of {wanted.calls} touches {where}"
        return found
    finally:
        scene.close()
        server.empty()


def strike_all(
    wanted: Enumeration, server: RunningServer, directory: Path, *, seed: int, most: int | None = None
) -> int:
    """Play the case once for each call, or until `most` of them, taken by chance, were struck.

    Fails with everything that went wrong, and when too few calls were struck.

    Returns:
        How many calls were struck.
    """
    found = traced(wanted, server, directory / "undisturbed")
    sampled = most is not None and most < len(found)
    chosen = random.Random(seed).sample(found, len(found)) if sampled else found
    # Of a sample each must be struck, so one that this run does not make again gives its place to another.
    needed = most if sampled and most is not None else len(found) - len(found) // 4
    wrong: list[str] = []
    missed: list[Strike] = []
    struck = 0
    for number, strike in enumerate(chosen):
        error = _struck_at_last(wanted, strike, server, directory / str(number))
        if isinstance(error, Strike):
            missed.append(error)
            continue
        struck += 1
        if error is not None:
            wrong.append(f"{wanted.fault} at {strike.call} number {strike.number} ({strike.line}):\n{error}")
        if sampled and struck == needed:
            break
    assert not wrong, f"{len(wrong)} of {struck} runs:\n" + "\n\n".join(wrong)
    assert struck >= needed, f"faults that never happened: {missed}"
    return struck


def _struck_at_last(
    wanted: Enumeration, strike: Strike, server: RunningServer, directory: Path
) -> AssertionError | Strike | None:
    """What went wrong, if anything; the strike itself when none of the attempts met its call."""
    aimed = strike
    for attempt in range(ATTEMPTS):
        place = directory / str(attempt)
        error = _struck(wanted, aimed, server, place)
        if strike.shape in map(shape, _met(place)) or _PROMISE.search(str(error)):
            return error
        aimed = _aimed_anew(strike, attempt, place / "system-calls")
    return strike


def _aimed_anew(strike: Strike, attempt: int, log: Path) -> Strike:
    """The same call by its number in a run that missed it; somewhat later where that run was struck on its way there."""
    alike = [each for each in strikes(log, "") if (each.call, each.shape) == (strike.call, strike.shape)]
    if not alike:
        # A download in more pieces makes more calls, all of them before those that follow it.
        return dataclasses.replace(strike, number=strike.number + attempt % LATER)
    return alike[min(strike.among_alike, len(alike) - 1)]


def _struck(wanted: Enumeration, strike: Strike, server: RunningServer, place: Path) -> AssertionError | None:
    try:
        play(_case(wanted, strike, place), server, place)
        wanted.after(strike, place / "system-calls")
    except AssertionError as error:
        return error
    finally:
        if not server.alive:
            server.restart()
        server.empty()
    return None


def _met(place: Path) -> list[str]:
    """The calls that the fault met, from their arguments on."""
    lines = (place / "system-calls").read_text("utf-8", "replace").splitlines()
    ends = [number for number, line in enumerate(lines) if line.endswith("+++ killed by SIGKILL +++")]
    struck = [line for line in lines if "(INJECTED)" in line] + [lines[number - 1] for number in ends]
    return [line.partition("(")[2] for line in struck]


def _case(wanted: Enumeration, strike: Strike, place: Path) -> Case:
    fault = wanted.fault + strike.when(persistent=wanted.persistent)
    system = Injection(strike.call, fault, where=str(place / "backups"), watched=wanted.calls, alone=True)
    exits = wanted.case.exits if wanted.exits is None else wanted.exits(strike)
    return dataclasses.replace(wanted.case, system=system, exits=exits)
