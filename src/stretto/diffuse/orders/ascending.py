"""Ascending step size: each step fills twice as many positions as the one before (arXiv 2509.23924)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest, closest
from ..canvas import Canvas, Delta, Span
from ..prediction import CONFIDENCES, Prediction, surest
from ..quotas import ascending
from .contract import Order, OrderState


@dataclass(frozen=True, slots=True)
class Ascending(Order):
    """Of a canvas of n positions, ⌊log₂ n⌋ steps: 1, 2, 4 … of the surest, and all that is left in the last.

    The steps are counted over the whole decode: a window that ends early passes on to the next size, and 'ascending-
    blocks' are cut so that none does. With growth 1 one position a step, the family's baseline.
    """

    growth: int = 2  # ≥ 1
    by: str = "raw"  # a measure of confidence, see `prediction.Confidence`

    name: ClassVar[str] = "ascending"
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.growth < 1:
            raise InvalidRequest(f"steps grow by the factor {self.growth}", hint="1 or more; 2 as published")
        if self.by not in CONFIDENCES:
            raise InvalidRequest(f"{self.by!r} is no measure of confidence", hint=closest(self.by, CONFIDENCES))

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return AscendingState(self, canvas.total)


class AscendingState(OrderState):
    """Remembers the sizes of all steps."""

    def __init__(self, settings: Ascending, total: int) -> None:
        self.by = settings.by
        self.sizes = ascending(max(1, total), settings.growth)

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        last = len(self.sizes) - 1
        count = self.sizes[canvas.step] if canvas.step < last else len(prediction.positions)
        if self.sizes[last] == 1:  # nothing grows
            count = 1
        return Delta.of(prediction, surest(prediction.confidence(self.by), count))
