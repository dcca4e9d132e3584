"""Reading a body piece by piece, as it comes, under a deadline on silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

    from qdrant_backup.clock import Clock

__all__ = ["PIECE_BYTES", "Broken", "Drip", "gather", "pull"]

PIECE_BYTES = 1024 * 1024
"""The largest piece that is handed on."""

_FLOOR_BYTES = 64 * 1024
"""Fewer bytes than this in a whole deadline's time of waiting count as silence."""


class Drip(HTTPError):
    """Bytes still came, so few that the transfer would never end."""


class Broken(Exception):
    """The body broke off. `cause` is urllib3's own error."""

    def __init__(self, cause: HTTPError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def pull(response: BaseHTTPResponse, clock: Clock, silence_s: float) -> Iterator[bytes]:
    """The body's pieces as they arrive, at most 1 MiB each, so that what came before a break is not lost with it.

    Only time spent waiting for the server counts, not what the consumer takes. Raises Broken.
    """
    waited_s = 0.0
    moved_bytes = 0
    while True:
        began = clock.monotonic()
        try:
            piece = response.read1(PIECE_BYTES, decode_content=False)
        except HTTPError as error:
            raise Broken(error) from None
        if not piece:
            return
        waited_s += clock.monotonic() - began
        moved_bytes += len(piece)
        if waited_s >= silence_s:
            if moved_bytes < _FLOOR_BYTES:
                raise Broken(Drip(f"only {moved_bytes} bytes came in {waited_s:.0f} s"))
            waited_s, moved_bytes = 0.0, 0
        yield piece


def gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about 1 MiB: a streamed snapshot comes in chunks of a few kilobytes."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
