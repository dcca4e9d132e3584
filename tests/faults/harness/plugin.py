"""Which cases run, with which seed, and what the last lines of a run say of the matrix."""

from __future__ import annotations

import collections
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from faults.matrix import ROWS, pending

FULL = "full"
ROW = "fault-row"
FAULTS = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "the fault matrix")
    group.addoption("--faults", choices=("quick", FULL), default="quick", help="every case, or those of `make test`")
    group.addoption("--fault-seed", type=int, default=20260203, help="what chance in the cases begins with")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "fault(row, quick=True): proves a row of the fault matrix; quick ones are part of `make test`"
    )
    config.addinivalue_line("markers", "load: load and soak; hours of use in minutes, and no part of `make test`")


def pytest_report_header(config: pytest.Config) -> str:
    return f"faults: {config.getoption('--faults')}, seed {config.getoption('--fault-seed')}"


@pytest.fixture
def fault_seed(request: pytest.FixtureRequest) -> int:
    """What chance begins with; another one by `--fault-seed`."""
    return int(request.config.getoption("--fault-seed") or 0)


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether every case runs: every N in place of a sample."""
    return request.config.getoption("--faults") == FULL


def _is_quick(item: pytest.Item, mark: pytest.Mark) -> bool:
    """Whether `make test` runs it: what was written for the matrix only where its row has a star."""
    written_for_it = FAULTS in item.path.parents
    return mark.kwargs.get("quick", True) and (ROWS[mark.args[0]].quick or not written_for_it)


def _deadline_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tell each report its row; leave out of `make test` what is not quick; begin a full run with what takes longest."""
    left_out: list[pytest.Item] = []
    for item in items:
        marks = list(item.iter_markers("fault"))
        for mark in marks:
            assert mark.args[0] in ROWS, f"{item.nodeid}: there is no row {mark.args[0]}"
            item.user_properties.append((ROW, mark.args[0]))
        if item.get_closest_marker("load") or not all(_is_quick(item, mark) for mark in marks):
            left_out.append(item)
    if config.getoption("--faults") == FULL:
        # A case of twenty minutes that comes last is played alone, while the other processes have nothing to do.
        items.sort(key=_deadline_s, reverse=True)
    elif left_out:
        gone = set(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in gone]


def _rows(reports: list[Any]) -> Iterator[tuple[str, Any]]:
    for report in reports:
        for name, row in getattr(report, "user_properties", ()):
            if name == ROW:
                yield row, report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """How many cases of how many rows passed, what was not run, and what waits."""
    if config.getoption("--faults") != FULL:
        return
    stats: dict[str, list[Any]] = terminalreporter.stats
    passed = collections.Counter(row for row, report in _rows(stats.get("passed", [])) if report.when == "call")
    failed = collections.Counter(row for row, _ in _rows(stats.get("failed", []) + stats.get("error", [])))
    skipped = list(_rows(stats.get("skipped", [])))
    write = terminalreporter.write_line
    terminalreporter.section("the fault matrix")
    write(f"{sum(passed.values())} cases of {len(passed)} rows passed, {sum(failed.values())} failed")
    untouched = sorted(set(ROWS) - set(passed) - set(failed) - set(pending()))
    if untouched:
        write(f"rows without a case that ran: {' '.join(untouched)}")
    for row, report in skipped:
        write(f"not run: {row} {report.nodeid.rpartition('::')[2]}: {_reason(report)}")
    for row, reason in pending().items():
        write(f"pending: {row} {ROWS[row].fault}: {reason}")


def _reason(report: Any) -> str:
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)


def missing(needs: Sequence[str]) -> list[str]:
    """The programs of `needs` that this machine does not have."""
    return [name for name in needs if shutil.which(name) is None]
