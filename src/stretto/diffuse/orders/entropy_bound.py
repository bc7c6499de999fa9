"""EB-Sampler's order: the surest first, as long as filling them together costs little."""

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
    name="eb-sampler",
    family="diffusion",
    source="arXiv 2505.24857",
    parts="entropy-bound",
    guarantee=Guarantee.APPROXIMATE,
    needs=("masked-diffusion model",),
    summary="as many of the surest positions as keep a bound on what they tell of each other",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class EntropyBound(Order):
    """The most k with ΣH − max H ≤ bound over the k surest positions, and always the surest (arXiv 2505.24857).

    That difference is at least the total correlation of the k, which is what drawing them independently loses. With
    bound 0 and by=raw it is the family's baseline, but that what is certain comes for nothing.
    """

    bound: float = 0.1  # nats, ≥ 0
    by: str = "raw-entropy"  # in which order positions are considered: a measure of confidence

    name: ClassVar[str] = "entropy-bound"
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.bound >= 0:
            raise InvalidRequest(f"the bound on entropies is {self.bound} nats", hint="0 or more")
        if self.by not in CONFIDENCES:
            raise InvalidRequest(f"positions cannot be ordered by {self.by!r}", hint=closest(self.by, CONFIDENCES))

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return EntropyBoundState(self)


class EntropyBoundState(OrderState):
    """Remembers nothing."""

    def __init__(self, settings: EntropyBound) -> None:
        self.settings = settings

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence(self.settings.by)
        order = surest(confidence, len(confidence))
        entropies = -prediction.confidence("raw-entropy")[order]
        cost = np.cumsum(entropies) - np.maximum.accumulate(entropies)  # rises along the order
        return Delta.of(prediction, order[: max(1, int((cost <= self.settings.bound).sum()))])
