"""Dream's order: a grid of times says how many positions, a measure of confidence says which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ..canvas import NOTHING, Canvas, Delta, Span
from ..chance import Use, gumbel
from ..prediction import Prediction, surest
from ..quotas import require_steps, steps_of, times
from .contract import Order, OrderState

ENTRY = Entry(
    name="dream",
    family="diffusion",
    source="arXiv 2508.15487; code github.com/DreamLM/Dream",
    parts="ranked",
    guarantee=Guarantee.APPROXIMATE,
    needs=("masked-diffusion model",),
    summary="a grid of times says how many positions, probability, margin or entropy which",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)

MEASURES = {"probability": "tempered", "margin": "margin", "entropy": "entropy"}  # -> `prediction.Confidence`


@dataclass(frozen=True, slots=True)
class Ranked(Order):
    """With n masks at time t, int(n(1 − s/t)) are filled on the way to time s, at the last step all.

    Confidence is that of the distribution that tokens are drawn from: probability of the token (maskgit_plus), margin
    between the two likeliest (topk_margin), or minus the entropy. A step may fill nothing.
    """

    by: Literal["probability", "margin", "entropy"] = "entropy"  # how sure a position is: one of these three
    steps: int = 0  # for the whole canvas, ≥ 1; 0: one for each position
    chance: float = 0.0  # ≥ 0; temperature at which positions are drawn by their confidence, 0: the surest

    name: ClassVar[str] = "ranked"

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if self.by not in MEASURES:
            raise InvalidRequest(f"positions cannot be ranked by {self.by!r}", hint=closest(self.by, MEASURES))
        if not self.chance >= 0:
            raise InvalidRequest(f"positions are drawn at temperature {self.chance}", hint="0 or more")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return RankedState(self)


class RankedState(OrderState):
    """Remembers the window's grid of times."""

    def __init__(self, settings: Ranked) -> None:
        self.settings = settings
        self.times: list[float] = []

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.times = times(steps_of(self.settings.steps, canvas, window))

    def spare(self, canvas: Canvas, window: Span) -> int:
        return len(self.times) - 1

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        masks, step = len(prediction.positions), canvas.window_step
        last = step == len(self.times) - 2
        count = masks if last else int(masks * (1 - self.times[step + 1] / self.times[step]))
        if not count:
            return NOTHING
        confidence = prediction.confidence(MEASURES[self.settings.by])
        if self.settings.chance:
            with np.errstate(over="ignore"):
                confidence = confidence / self.settings.chance
            confidence = confidence + gumbel(canvas.rule, prediction.positions, canvas.step, Use.RANK)
        return Delta.of(prediction, surest(confidence, count))
