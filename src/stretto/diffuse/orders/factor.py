"""Fast-dLLM's factor rule: the more positions at once, the surer each must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span
from ..prediction import Prediction, surest
from .contract import Order, OrderState


@dataclass(frozen=True, slots=True)
class Factor(Order):
    """The largest n with (n + 1)(1 − c) < factor for the n-th surest position, and always the surest.

    With factor 1 and a model whose conditionals are those of one joint distribution, what is filled together is what
    greedy decoding fills one by one (arXiv 2505.22618, theorem 1). At 0 one position a step.
    """

    factor: float = 1.0  # ≥ 0

    name: ClassVar[str] = "factor"
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.factor >= 0:
            raise InvalidRequest(f"the factor is {self.factor}", hint="0 or more; 1 as published")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return FactorState(self.factor)


class FactorState(OrderState):
    """Remembers nothing."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence("raw")
        order = surest(confidence, len(confidence))
        doubt = np.arange(2, len(order) + 2) * (1 - confidence[order])  # rises along the order
        return Delta.of(prediction, order[: max(1, int((doubt < self.factor).sum()))])
