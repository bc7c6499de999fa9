"""A fixed number of positions each step, in a random order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ..chance import Use, uniform
from ..contract import Canvas, Delta, Order, Ordering, Span
from ..proposal import Positions, Proposal, surest
from ..schedule import require_steps, steps_of, transfers


@dataclass(frozen=True, slots=True)
class Random(Order):
    """LLaDA's other order (arXiv 2502.09992). One position a step at temperature 1 draws from the model's joint
    distribution exactly, as far as its conditionals are those of one."""

    steps: int = 0  # for the whole canvas, ≥ 1; 0: one for each position

    name: ClassVar[str] = "random-order"
    foresees: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_steps(self.steps)

    def open(self, canvas: Canvas, context: Context) -> Ordering:
        return RandomOrdering(self.steps)


class RandomOrdering(Ordering):
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

    def choose(self, canvas: Canvas, proposal: Proposal, window: Span) -> Delta:
        lots = uniform(canvas.rule, proposal.positions, canvas.step, Use.RANK)
        return Delta.of(proposal, surest(lots, self.quota[canvas.window_step]))
