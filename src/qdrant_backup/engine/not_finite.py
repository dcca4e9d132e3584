"""Counts vectors with numbers that are none, while their digest is computed. Runs in the engine's child process.

A server takes no NaN, but it makes some: of 1e39, which float32 has no room for, becomes infinity, and of infinity in a
vector that is normalised NaN. What an embedding model that broke down gives is NaN throughout, and arrives by gRPC.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NotFinite"]

_LONG = 64
_STRIDE = 8
"""Adding up all numbers of every vector would lengthen a digest by a tenth."""


class NotFinite:
    """How many points have a vector with NaN or an infinity in it, by the vector's name.

    Of a vector of 64 numbers or more each eighth is looked at, of the next point's the ones beside them: what is NaN
    throughout is always seen, a single one in some of the points only. So the counts are lower bounds.

    Attributes:
        counts: vector name to points; a name without any is not there.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._turn = 0

    def look(self, vectors: Mapping[str, Any]) -> None:
        """Look at the vectors of one point."""
        self._turn = turn = (self._turn + 1) % _STRIDE
        for name, vector in vectors.items():
            if not math.isfinite(_sum(vector, turn)):
                self.counts[name] = self.counts.get(name, 0) + 1

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what another one found in other points."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count


def _sum(vector: Any, turn: int) -> float:
    """A number that is finite where those looked at are: sums of float32 do not leave the range of float64."""
    if not isinstance(vector, list):
        return sum(vector.values)
    numbers = cast("list[Any]", vector)
    if numbers and isinstance(numbers[0], list):
        return sum(_some(row, turn) for row in numbers)
    return _some(numbers, turn)


def _some(numbers: Sequence[float], turn: int) -> float:
    return sum(numbers) if len(numbers) < _LONG else sum(numbers[turn::_STRIDE])
