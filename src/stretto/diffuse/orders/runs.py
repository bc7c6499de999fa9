"""dInfer's hierarchy: the surest of each stretch of masks, where it is sure enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span
from ..prediction import Prediction
from ..stretches import stretches
from .contract import Order, OrderState

ENTRY = Entry(
    name="hierarchical-decoding",
    family="diffusion",
    source="arXiv 2510.08666; code github.com/inclusionAI/dInfer",
    parts="runs",
    guarantee=Guarantee.APPROXIMATE,
    needs=("masked-diffusion model",),
    summary="one position in each stretch of masks at a lower threshold: those far apart depend less on each other",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class Runs(Order):
    """All surer than `high`, of each maximal stretch of masks the surest if surer than `low`, and always the surest.

    Filling the middle of a stretch cuts it in two, so the number of stretches doubles where all goes well. With both
    at 1 one position a step: the family's baseline. With `low` at `high` a threshold.
    """

    high: float = 0.9  # confidence above which a position is filled, wherever it stands; ≥ 0
    low: float = 0.4  # the same for the surest of a stretch; ≥ 0

    name: ClassVar[str] = "runs"
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for least in (self.high, self.low):
            if not least >= 0:
                raise InvalidRequest(f"positions are filled above confidence {least}", hint="0 or more")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return RunsState(self)


class RunsState(OrderState):
    """Remembers nothing."""

    def __init__(self, settings: Runs) -> None:
        self.settings = settings

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence("raw")
        taken = confidence > self.settings.high
        for stretch in stretches(prediction.positions):
            best = stretch[confidence[stretch].argmax()]
            taken[best] |= confidence[best] > self.settings.low
        taken[confidence.argmax()] = True
        return Delta.of(prediction, np.flatnonzero(taken))
