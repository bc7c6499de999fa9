"""As much as rows that run have patience for: what costs as much as a few windows of one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.clock import Clock
from ..models.reading import CHUNK
from ..row import Row
from .contract import Pace

SMALLEST = 32  # tokens: below, a window costs about the same


@dataclass(frozen=True, slots=True)
class Patience(Pace):
    """What the clock says of this machine decides; one window reads at most 512 tokens."""

    windows: float = 8  # of one token, that a chunk may cost

    def tokens(self, clock: Clock, rows: Sequence[Row]) -> int:
        size, most = SMALLEST, self.windows * clock.cost(1)
        while size < CHUNK and clock.cost(2 * size) <= most:
            size *= 2
        return size
