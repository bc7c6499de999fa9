"""Dimple's confident decoding: all positions that are sure enough, and a grid of times where none is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ..canvas import Canvas, Delta, Span
from ..chance import Use, uniform
from ..prediction import Floats, Prediction, surest
from ..quotas import require_steps, steps_of, times
from .contract import Order, OrderState

ENTRY = Entry(
    name="dimple",
    family="diffusion",
    source="arXiv 2505.16990; code github.com/yu-rp/Dimple",
    parts="confident+prefill",
    guarantee=Guarantee.APPROXIMATE,
    number=255,
    needs=("masked-diffusion model",),
    summary="all sure positions at once, else as many as a grid of times says; the prompt is computed once",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)

MEASURES = {  # how the positions of the grid are found -> `prediction.Confidence`, or none: by chance or place
    "probability": "tempered",
    "margin": "margin",
    "entropy": "entropy",
    "origin": "",
    "origin-ratio": "",
    "autoregressive": "",
}


@dataclass(frozen=True, slots=True)
class Confident(Order):
    """Positions of more than `least` are filled, and nothing else. Where there is none, the grid says how many.

    With the share t of the window's masks left, time goes on to the first s < t of the grid at which int(n(1 − s/t))
    is not 0; at the last everything is filled. Where `by=origin` throws no coin for any position, the one that came
    nearest is filled. `least` above 1 leaves the grid alone; at 0 everything is filled at once.
    """

    least: float = 0.95  # ≥ 0
    # how sure a position is, or which of them the grid fills
    by: Literal["probability", "margin", "entropy", "origin", "origin-ratio", "autoregressive"] = "probability"
    steps: int = 0  # of the grid, for the whole canvas, ≥ 1; 0: one for each position
    tempered: bool = False  # judge by the distribution that tokens are drawn from; else by the model's own

    name: ClassVar[str] = "confident"

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if not self.least >= 0:
            raise InvalidRequest(f"positions are filled above confidence {self.least}", hint="0 or more")
        if self.by not in MEASURES:
            raise InvalidRequest(f"positions cannot be found by {self.by!r}", hint=closest(self.by, MEASURES))

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return ConfidentState(self)


class ConfidentState(OrderState):
    """Remembers how many masks the window had, and its grid of times."""

    def __init__(self, settings: Confident) -> None:
        self.settings = settings
        self.masks = 0
        self.times: list[float] = []

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.masks = len(canvas.masks(window))
        self.times = times(steps_of(self.settings.steps, canvas, window))

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence("tempered" if self.settings.tempered else "raw")
        sure = np.flatnonzero(confidence > self.settings.least)
        if len(sure):
            return Delta.of(prediction, sure)
        count, share = self._due(len(prediction.positions))
        if self.settings.by == "origin":
            coins = self._coins(canvas, prediction, Use.COIN)
            thrown = np.flatnonzero(coins > 1 - share)
            return Delta.of(prediction, thrown if len(thrown) else surest(coins, 1))
        return Delta.of(prediction, surest(self._rank(canvas, prediction), count))

    def _due(self, masks: int) -> tuple[int, float]:
        """How many of so many masks the grid lets go next, ≥ 1, and the share that this is."""
        now = masks / self.masks
        for time in self.times[:-1]:
            if time < now and (count := int(masks * (1 - time / now))):
                return count, 1 - time / now
        return masks, 1.0

    def _rank(self, canvas: Canvas, prediction: Prediction) -> Floats:
        by = self.settings.by
        if by == "autoregressive":
            return -prediction.positions.astype(np.float64)
        return (
            self._coins(canvas, prediction, Use.RANK) if by == "origin-ratio" else prediction.confidence(MEASURES[by])
        )

    def _coins(self, canvas: Canvas, prediction: Prediction, use: Use) -> Floats:
        return uniform(canvas.rule, prediction.positions, canvas.step, use)
