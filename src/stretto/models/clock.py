"""What a window costs here: what a clock is, and one that is simulated, so that planners can be tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Tells what evaluating a window costs."""

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        """Seconds for one window of so many slots in each of `rows` rows, or on average in rows of unequal length.

        `padding`: slots, of all rows, that are only there because another row is longer.
        """
        ...

    def learn(self, lengths: Sequence[int], seconds: float) -> None:
        """A window with so many slots of each row took so long; a clock may have its own mind of that."""
        return None


@dataclass(frozen=True)
class SimulatedClock(Clock):
    """Fixed costs: `start` seconds per window and `per_token` for each slot of it beyond the first, padding too."""

    start: float = 1.0
    per_token: float = 0.1

    def cost(self, tokens: float, rows: int = 1, padding: int = 0) -> float:
        """Seconds, a straight line over all slots of the window."""
        return self.start + self.per_token * (tokens * rows + padding - 1)
