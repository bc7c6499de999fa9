"""LocalLeap: near a very sure position less certainty will do, as its neighbours are mostly settled by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span
from ..prediction import Positions, Prediction, surest
from .contract import Order, OrderState

ENTRY = Entry(
    name="local-leap",
    family="diffusion",
    source="arXiv 2510.07081; code github.com/friedrichor/LocalLeap",
    parts="local-leap+blocks(32)+end-of-text",
    guarantee=Guarantee.APPROXIMATE,
    number=8,
    needs=("masked-diffusion model",),
    summary="all sure positions of a block, and around each of them those that are nearly so",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class LocalLeap(Order):
    """Anchors are the positions of confidence `least` or more; within `radius` of one, `near` suffices.

    With `near` as high as `least` it is the threshold order; with `least` above 1 the baseline. Both depend on how
    sure the model tends to be. Neighbourhoods end with the window.
    """

    least: float = 0.9  # confidence of an anchor, ≥ 0
    near: float = 0.75  # confidence that suffices beside one, 0 … least
    radius: int = 4  # positions to either side, ≥ 0
    filled: bool = False  # what was filled in the window with an anchor's confidence stays an anchor

    name: ClassVar[str] = "local-leap"
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.near <= self.least:
            raise InvalidRequest(
                f"anchors are of confidence {self.least}, their neighbours of {self.near}", hint="0 <= near <= least"
            )
        if self.radius < 0:
            raise InvalidRequest(f"a neighbourhood reaches {self.radius} positions", hint="0 or more")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return LocalLeapState(self)


class LocalLeapState(OrderState):
    """Remembers nothing."""

    def __init__(self, settings: LocalLeap) -> None:
        self.settings = settings

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        settings = self.settings
        confidence = prediction.confidence("raw")
        anchors = prediction.positions[confidence >= settings.least]
        if settings.filled:
            anchors = np.union1d(anchors, self._filled(canvas, window))
        distance = np.abs(prediction.positions[:, None] - anchors).min(1, initial=np.iinfo(np.int64).max)
        leaps = (distance <= settings.radius) & (confidence >= settings.near)
        taken = np.flatnonzero((confidence >= settings.least) | leaps)
        return Delta.of(prediction, taken if len(taken) else surest(confidence, 1))

    def _filled(self, canvas: Canvas, window: Span) -> Positions:
        """Positions of the window that were surely filled; given ones are not among them."""
        return window.start + np.flatnonzero(canvas.sure[window.start : window.end] >= self.settings.least)
