"""What a window costs here: measured, or simulated so that planners can be tested deterministically."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Tells what evaluating a window costs."""

    def cost(self, tokens: int, rows: int = 1) -> float:
        """Seconds for one window of `tokens` slots in each of `rows` rows."""
        ...


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """Fixed costs: `start` seconds per window and `per_token` for each slot of each row beyond the first."""

    start: float = 1.0
    per_token: float = 0.1

    def cost(self, tokens: int, rows: int = 1) -> float:
        return self.start + self.per_token * (tokens * rows - 1)


class MeasuredClock(SimulatedClock):  # placeholder until measured
    def __init__(self, model) -> None:
        super().__init__()
