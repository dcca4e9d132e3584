"""What the harness says of a command's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from faults.harness.watched import watch

MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells the peak of another process"
)


def python(text: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_memory_of_who_started_a_command_is_not_the_commands() -> None:
    held = bytearray(b"x") * (300 * MIB)
    watched = watch(python("import time; time.sleep(0.2)"), 60, None)

    assert len(held) == 300 * MIB
    assert watched.peak_bytes is not None
    assert 2 * MIB < watched.peak_bytes < 100 * MIB


@pytest.mark.parametrize("below", [False, True])
def test_memory_that_was_given_back_and_that_of_a_child_counts(below: bool) -> None:
    text = f"import time; taken = bytearray(b'x') * {200 * MIB}; time.sleep(0.1); del taken; time.sleep(0.2)"
    if below:
        text = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {text!r}], check=True)"
    watched = watch(python(text), 60, None)

    assert watched.ran.code == 0
    assert watched.peak_bytes is not None
    assert watched.peak_bytes > 200 * MIB
