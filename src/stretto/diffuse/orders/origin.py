"""The time grid alone: each open position is filled by chance, independent of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ..canvas import Canvas, Delta, Span
from ..chance import Use, uniform
from ..prediction import Prediction
from ..quotas import require_steps, steps_of, times
from .contract import Order, OrderState


@dataclass(frozen=True, slots=True)
class Origin(Order):
    """On the way from time t to s each mask is filled with probability 1 − s/t, at the last step surely.

    Dream's `origin` (arXiv 2508.15487). With many steps and temperature 1 this draws from the model's joint
    distribution, with one step from the product of its marginals. A step may fill nothing.
    """

    steps: int = 0  # for the whole canvas, ≥ 1; 0: one for each position

    name: ClassVar[str] = "origin"

    def __post_init__(self) -> None:
        require_steps(self.steps)

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return OriginState(self.steps)


class OriginState(OrderState):
    """Remembers the window's grid of times."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.times: list[float] = []

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.times = times(steps_of(self.steps, canvas, window))

    def spare(self, canvas: Canvas, window: Span) -> int:
        return len(self.times) - 1

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        step = canvas.window_step
        last = step == len(self.times) - 2
        coins = uniform(canvas.rule, prediction.positions, canvas.step, Use.COIN)
        kept = 0.0 if last else self.times[step + 1] / self.times[step]
        return Delta.of(prediction, np.flatnonzero(coins > kept))
