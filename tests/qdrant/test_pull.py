"""Silence and dripping, told by the clock that waiting for the server takes."""

from __future__ import annotations

import pytest
from urllib3 import BaseHTTPResponse

from qdrant_backup.qdrant.pull import Broken, gather, pull


class Slow(BaseHTTPResponse):
    """A body whose every piece takes its time on the clock that is handed in."""

    def __init__(self, clock, pieces, each_s):
        self.clock, self.pieces, self.each_s = clock, list(pieces), each_s

    def read1(self, amt=None, decode_content=None):
        self.clock.sleep(self.each_s)
        return self.pieces.pop(0) if self.pieces else b""


@pytest.mark.fault("N06")
def test_a_drip_is_as_good_as_silence(clock):
    with pytest.raises(Broken, match="only 300 bytes came in 300 s"):
        list(pull(Slow(clock, [b"x"] * 1000, 1.0), clock, 300.0))


@pytest.mark.fault("N06")
def test_slow_but_alive_is_fine(clock):
    assert len(list(pull(Slow(clock, [b"x" * 1000] * 1000, 1.0), clock, 300.0))) == 1000


def test_what_the_consumer_takes_is_not_the_servers_silence(clock):
    for _ in pull(Slow(clock, [b"x"] * 10, 1.0), clock, 300.0):
        clock.sleep(1000)


def test_small_pieces_are_gathered_and_none_is_lost():
    pieces = [bytes([n % 251]) * 3000 for n in range(1000)]
    gathered = list(gather(iter(pieces)))
    assert b"".join(gathered) == b"".join(pieces)
    assert len(gathered) == 3
