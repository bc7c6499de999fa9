"""LLaDA's order: a fixed number of positions each step, the surest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ..canvas import Canvas, Delta, Span
from ..prediction import Prediction, surest
from ..quotas import require_steps, steps_of, transfers
from .contract import Order, OrderState

ENTRY = Entry(
    name="llada",
    family="diffusion",
    source="arXiv 2502.09992; code github.com/ML-GSAI/LLaDA",
    parts="low-confidence",
    guarantee=Guarantee.APPROXIMATE,
    needs=("masked-diffusion model",),
    summary="as many positions each step, the surest first, block after block",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class LowConfidence(Order):
    """Confidence is the model's own probability of the sampled token, untempered and without noise.

    `steps` are of the whole canvas; each block has its share. One position a step is the family's baseline.
    `ends_last` fills end tokens after everything else of the block, where they would come first.
    """

    steps: int = 0  # for the whole canvas, ≥ 1; 0: one for each position
    ends_last: bool = False  # end tokens are filled after everything else of the block

    name: ClassVar[str] = "low-confidence"

    def __post_init__(self) -> None:
        require_steps(self.steps)

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return LowConfidenceState(self)


class LowConfidenceState(OrderState):
    """Remembers how many positions each step of the window fills."""

    def __init__(self, settings: LowConfidence) -> None:
        self.settings = settings
        self.quota: list[int] = []

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.quota = transfers(len(canvas.masks(window)), steps_of(self.settings.steps, canvas, window))

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence("raw")
        if self.settings.ends_last and canvas.ends:
            confidence = np.where(np.isin(prediction.tokens, list(canvas.ends)), -np.inf, confidence)
        return Delta.of(prediction, surest(confidence, self.quota[canvas.window_step]))
