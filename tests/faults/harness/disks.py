"""Disks of a test's own: mounts that nobody else sees, and rights that even root does not have."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

__all__ = ["Mounts", "attribute", "can_mount", "obey_modes", "supports_attributes"]

_LONGEST_S = "3600"
_DROP_FROM_BOUNDING_SET = 24
_IGNORES_MODES, _IGNORES_MODES_TO_READ = 1, 2


def can_mount() -> bool:
    """Whether this user may have mounts of its own."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Mounts:
    """A mount namespace, kept by a process that sleeps; everything in it is seen through that process's root."""

    def __init__(self) -> None:
        keep = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"echo; exec sleep {_LONGEST_S}"]
        self._keeper = subprocess.Popen(keep, stdout=subprocess.PIPE)
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.read(1) == b"\n"

    def view(self, path: Path) -> Path:
        """The path by which every process reaches `path` as it is in here."""
        return Path(f"/proc/{self._keeper.pid}/root{path}")

    def used_kb(self, path: Path) -> int:
        """What the filesystem at `path` holds, in units of 1,024 bytes."""
        system = os.statvfs(self.view(path))
        return (system.f_blocks - system.f_bfree) * system.f_frsize // 1024

    def run(self, *words: str | Path) -> None:
        """A command in here, such as `mount`."""
        enter = ["nsenter", "--mount", "--target", str(self._keeper.pid), "--", *(os.fspath(word) for word in words)]
        subprocess.run(enter, check=True, capture_output=True, timeout=60)

    def memory(self, path: Path, options: str) -> None:
        """A filesystem in memory at `path`, with mount's options: `size=1m,nr_inodes=20`."""
        self.run("mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", path)

    def close(self) -> None:
        """All mounts go with the process that kept them."""
        self._keeper.kill()
        self._keeper.wait()
        if self._keeper.stdout is not None:
            self._keeper.stdout.close()


def obey_modes() -> None:
    """For `preexec_fn`: what is executed next minds the modes of files, although it runs as root."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (_IGNORES_MODES, _IGNORES_MODES_TO_READ):
        libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


def attribute(change: str, path: Path) -> None:
    """Give a file or directory an attribute that binds root too, or take it away: `+i`, `-i`, `+a`, `-a`."""
    subprocess.run(["chattr", change, os.fspath(path)], check=True, capture_output=True, timeout=60)


def supports_attributes(directory: Path) -> bool:
    """Whether this user, on this filesystem, may set them."""
    probe = directory / "attribute-probe"
    probe.touch()
    try:
        attribute("+i", probe)
        attribute("-i", probe)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False
    finally:
        probe.unlink()
    return True
