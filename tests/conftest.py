"""What every test gets without asking: a clean environment, and a report header that says what was tested against."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Time is no verdict: the machine may be busy. Where a run must say the same twice, it tries the same examples; elsewhere
# each run tries others.
hypothesis.settings.register_profile(
    "house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("house")

# `support/servers.py` starts the embedded server, and a real one where there is one; the plugin reports the fault matrix.
pytest_plugins = ["support.servers", "faults.harness.plugin"]

FOREIGN = ("QDRANT_", "AI_MEMORY_", "SNAPSHOT_UPLOAD_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "XDG_")


MEMORY = Path("/dev/shm")
ROOMY_BYTES = 4 << 30


def _has_room(directory: Path) -> bool:
    """Whether all that a run writes fits into memory with plenty to spare, and what tests write there can be executed."""
    if not directory.is_dir():
        return False
    try:
        system = os.statvfs(directory)
        lines = Path("/proc/meminfo").read_text().splitlines()
        group = Path("/sys/fs/cgroup/memory.max")
        most = group.read_text().strip() if group.exists() else "max"
    except OSError:
        return False
    available_bytes = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    limits = [system.f_bavail * system.f_frsize, available_bytes // 2, *([int(most) // 2] if most.isdigit() else [])]
    return min(limits) >= ROOMY_BYTES and os.access(directory, os.W_OK) and not system.f_flag & os.ST_NOEXEC


def pytest_configure(config: pytest.Config) -> None:
    """Write to memory where there is room: a restore's test syncs a thousand times, and a disk takes its time for each."""
    in_worker = hasattr(config, "workerinput")
    chosen = "TMPDIR" in os.environ or config.option.basetemp is not None
    if not in_worker and not chosen and _has_room(MEMORY):
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


@functools.cache
def real_server_version() -> str | None:
    """The version of the `qdrant` binary on PATH, such as `1.18.3`; None where there is none."""
    binary = shutil.which("qdrant")
    if binary is None:
        return None
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=60, check=True)
    return answer.stdout.split()[-1]


def pytest_report_header() -> list[str]:
    real = real_server_version()
    return [
        f"python {platform.python_version()}, qdrant-edge-py {importlib.metadata.version('qdrant-edge-py')}",
        f"servers: embedded{f', real {real}' if real else ' (no `qdrant` on PATH, so no real one)'}",
        f"temporary files: {tempfile.gettempdir()}",
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if real_server_version() is None:
        skip = pytest.mark.skip(reason="no `qdrant` binary on PATH")
        for item in items:
            if item.get_closest_marker("real"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the user who runs the tests reaches them, and nothing they do reaches that user's home."""
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("TZ", "UTC")
