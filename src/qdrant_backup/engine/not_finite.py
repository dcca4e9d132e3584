"""Counts vectors with numbers that are none, while their digest is computed. Runs in the engine's child process.

A server takes no NaN, but it makes some: of 1e39, which float32 has no room for, becomes infinity, and of infinity in a
vector that is normalised NaN. What an embedding model that broke down gives is NaN throughout, and arrives by gRPC.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["NotFinite"]

_LONG = 64
_STRIDE = 16
"""Adding up all numbers of every vector would lengthen a digest by a tenth; so many take a hundredth."""


class NotFinite:
    """How many points have a vector with NaN or an infinity in it, by the vector's name.

    Of vectors of 64 numbers or more each sixteenth is looked at, in each batch others, and in the first batch all; where
    one is none, every number of that batch. So a vector that is NaN throughout is always seen, a single NaN in a long one
    may not be, and the counts are lower bounds. Sparse vectors are looked at in each sixteenth batch.

    Attributes:
        counts: vector name to points; a name without any is not there.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._batches = 0

    def look(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Look at the vectors of a batch of points, each by their names."""
        turn = self._batches % _STRIDE
        stride = _STRIDE if self._batches else 1
        self._batches += 1
        for name in dict.fromkeys(itertools.chain.from_iterable(batch)):
            column = [vectors[name] for vectors in batch if name in vectors]
            length = _length(column[0])
            if not length and turn:
                continue
            looked = (turn, stride) if length >= _LONG else (0, 1)
            if not math.isfinite(sum([_sum(vector, *looked) for vector in column])):
                self.add({name: sum(not math.isfinite(_sum(vector)) for vector in column)})

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what another one found in other points."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count


def _length(vector: Any) -> int:
    """How many numbers a vector has, or each row of it; 0 for a sparse one."""
    if not isinstance(vector, list):
        return 0
    numbers = cast("list[Any]", vector)
    return len(cast("list[Any]", numbers[0])) if numbers and isinstance(numbers[0], list) else len(numbers)


def _sum(vector: Any, turn: int = 0, stride: int = 1) -> float:
    """A number that is finite where those looked at are: sums of float32 do not leave the range of float64."""
    if not isinstance(vector, list):
        return sum(cast("Iterable[float]", vector.values))
    numbers = cast("list[Any]", vector)
    if numbers and isinstance(numbers[0], list):
        return sum(sum(row[turn::stride]) for row in numbers)
    return sum(numbers[turn::stride])
