"""A real server on a disk of its own, small enough to be full."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from support.servers import RunningServer, start_real

__all__ = ["cannot_mount", "fill", "free", "start_on_small_disk"]

SIZE_BYTES = 96 * 2**20
MOUNT = 'mount -o loop "$IMAGE" "$DISK" && exec "$0" "$@"'
WITHIN = ("unshare", "-m", "sh", "-c", MOUNT)


def cannot_mount(directory: Path) -> str:
    """Why this machine cannot mount a file in a mount namespace of its own; empty when it can."""
    lacking = [name for name in ("unshare", "mount", "mkfs.ext4") if shutil.which(name) is None]
    if lacking:
        return f"needs {', '.join(lacking)}"
    tried = subprocess.run([*WITHIN, "true"], env=_environment(directory), capture_output=True, text=True, check=False)
    return f"needs the right to mount: {tried.stderr.strip()}" if tried.returncode else ""


def start_on_small_disk(directory: Path) -> RunningServer:
    """Its storage and its snapshots lie on one ext4 filesystem, which nobody but the server sees and which ends with it.

    A tmpfs would not do: the server maps files with holes, and reading a hole of a full tmpfs kills it (SIGBUS). Here only
    writing to one does, so it happens now and then.
    """
    disk = _disk(directory)
    settings = {
        "IMAGE": str(_image(directory)),
        "DISK": str(disk),
        "QDRANT__STORAGE__STORAGE_PATH": str(disk / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(disk / "snapshots"),
    }
    return start_real(directory, settings=settings, within=WITHIN)


def fill(server: RunningServer, left_bytes: int) -> None:
    """Fill the server's disk up to so many bytes."""
    with _filler(server).open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            filler.truncate(max(0, filler.tell() - left_bytes))


def free(server: RunningServer) -> None:
    """Take away what filled it; also where the server died of it, and its mount with it."""
    if server.alive:
        _filler(server).unlink(missing_ok=True)
        return
    command = ("unshare", "-m", "sh", "-c", 'mount -o loop "$IMAGE" "$DISK" && rm -f "$DISK/filler"')
    subprocess.run(command, env=_environment(server.data_dir), check=True)


def _filler(server: RunningServer) -> Path:
    return Path(f"/proc/{server.pid}/root{_disk(server.data_dir)}/filler")


def _environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "IMAGE": str(_image(directory)), "DISK": str(_disk(directory))}


def _disk(directory: Path) -> Path:
    disk = directory.resolve() / "disk"
    disk.mkdir(parents=True, exist_ok=True)
    return disk


def _image(directory: Path) -> Path:
    image = directory.resolve() / "disk.image"
    if not image.exists():
        image.parent.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as made:
            made.truncate(SIZE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0", image], check=True)
    return image
