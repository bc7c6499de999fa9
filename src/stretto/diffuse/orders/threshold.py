"""Fast-dLLM's threshold: all positions that are sure enough at once, and always the surest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ..canvas import Canvas, Delta, Span
from ..prediction import CONFIDENCES, Prediction, surest
from .contract import Order, OrderState

ENTRY = Entry(
    name="fast-dllm",
    family="diffusion",
    source="arXiv 2505.22618; code github.com/NVlabs/Fast-dLLM",
    parts="threshold+blocks(32)+dual-cache",
    guarantee=Guarantee.APPROXIMATE,
    number=136,
    needs=("masked-diffusion model",),
    summary="all sure positions of a block at once; keys and values outside of the block are kept while it lasts",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class Threshold(Order):
    """Above 1 exactly one position a step, the surest: the family's baseline. At 0 everything at once."""

    least: float = 0.9  # confidence from which a position is filled; ≥ 0
    by: str = "raw"  # a measure of confidence: raw, tempered, top, margin, raw-margin

    name: ClassVar[str] = "threshold"
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.least >= 0:
            raise InvalidRequest(f"positions are filled from confidence {self.least}", hint="0 or more")
        if self.by not in CONFIDENCES or "entropy" in self.by:
            raise InvalidRequest(f"{self.by!r} is no confidence between 0 and 1", hint=closest(self.by, CONFIDENCES))

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return ThresholdState(self)


class ThresholdState(OrderState):
    """Remembers nothing."""

    def __init__(self, settings: Threshold) -> None:
        self.settings = settings

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence(self.settings.by)
        sure = np.flatnonzero(confidence >= self.settings.least)
        return Delta.of(prediction, sure if len(sure) else surest(confidence, 1))
