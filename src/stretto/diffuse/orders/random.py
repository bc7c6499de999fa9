"""A fixed number of positions each step, in a random order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ..canvas import Canvas, Delta, Span
from ..chance import Use, uniform
from ..prediction import Positions, Prediction, surest
from ..quotas import require_steps, steps_of, transfers
from .abilities import Foreseeing, ForeseeingState


@dataclass(frozen=True, slots=True)
class Random(Foreseeing):
    """LLaDA's other order (arXiv 2502.09992). One position a step at temperature 1 draws from the model's joint
    distribution exactly, as far as its conditionals are those of one."""

    steps: int = 0  # for the whole canvas, ≥ 1; 0: one for each position

    name: ClassVar[str] = "random-order"

    def __post_init__(self) -> None:
        require_steps(self.steps)

    def open(self, canvas: Canvas, context: Context) -> ForeseeingState:
        return RandomState(self.steps)


class RandomState(ForeseeingState):
    """Remembers how many positions each step of the window fills."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.quota: list[int] = []

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.quota = transfers(len(canvas.masks(window)), steps_of(self.steps, canvas, window))

    def foreseen(self, canvas: Canvas, window: Span) -> Positions:
        masks = canvas.masks(window)
        lots = uniform(canvas.rule, masks, canvas.step, Use.RANK)
        return np.sort(masks[surest(lots, self.quota[canvas.window_step])])

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        lots = uniform(canvas.rule, prediction.positions, canvas.step, Use.RANK)
        return Delta.of(prediction, surest(lots, self.quota[canvas.window_step]))
