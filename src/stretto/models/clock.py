"""What a window costs here: what a clock is, what may be guessed, and one that is simulated, to test planners with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .contract import Model
from .numbers import numbers_of, weights_of

CODED = 0.6  # bytes of a weight in blocks
READ, MULTIPLIED = {"cpu": 1e10, "other": 1e12}, {"cpu": 2e10, "other": 1e14}  # bytes, weights a second
CALLS = 5e-5  # seconds for what a layer does beside its products


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


def by_bytes(model: Model, slots: Sequence[int]) -> list[float]:
    """Seconds of windows of so many slots, before anything is known: of what is read once and multiplied for each."""
    kind = "cpu" if model.device.type == "cpu" else "other"
    size, weights = CODED if numbers_of(model).blocks else model.dtype.itemsize, weights_of(model)
    return [CALLS * model.layers + weights * (size / READ[kind] + each / MULTIPLIED[kind]) for each in slots]
