"""Discrete Diffusion VLA's order: the easy positions first by a cosine, and a second look at what was filled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ..canvas import Canvas, Delta, Span, none
from ..chance import Use, gumbel
from ..prediction import Floats, Positions, Prediction, surest
from ..quotas import require_steps, steps_of
from .contract import Order, OrderState

ENTRY = Entry(
    name="discrete-diffusion-vla",
    family="diffusion",
    source="arXiv 2508.20072; code github.com/Liang-ZX/DiscreteDiffusionVLA (in part)",
    parts="easy-first",
    guarantee=Guarantee.NONE,
    number=27,
    needs=("masked-diffusion model",),
    confirmed=False,
    summary="a cosine says how many stay masked, and what has become doubtful is masked again",
    generation="fill",
    refinement="iterative",
    modality="actions",
    branch="non-autoregressive",
)

MEASURES = {"probability": "raw", "margin": "raw-margin"}  # -> `prediction.Confidence`


@dataclass(frozen=True, slots=True)
class EasyFirst(Order):
    """After step t of T of a window of n masks, min(⌊n cos(πt / 2T)⌋, n − t) stay masked.

    Filled are the highest ln(confidence) + chance · (1 − t/T) · Gumbel. What was filled is read again at each step, by
    its own row: it is opened where its probability is below `floor` · t/T, or has fallen by more than `drop` since it
    was filled, the worst `most` of a step; as many more are filled instead. Both limits are ours, the published ones
    are unconfirmed. With 0 steps, no chance and most=0 it is the family's baseline.
    """

    steps: int = 12  # T for the whole canvas, ≥ 1; 0: one for each position
    by: str = "probability"  # probability, margin
    chance: float = 0.0  # ≥ 0; of the Gumbel noise at the first step
    floor: float = 0.4  # probability, 0 to 1
    drop: float = 0.5  # of the probability, 0 to 1
    most: int = 4  # positions opened in a step, ≥ 0; 0: nothing is read again

    name: ClassVar[str] = "easy-first"
    guarantee: ClassVar[Guarantee] = Guarantee.NONE
    revises: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if self.by not in MEASURES:
            raise InvalidRequest(f"positions cannot be ranked by {self.by!r}", hint=closest(self.by, MEASURES))
        if not (self.chance >= 0 and 0 <= self.floor <= 1 and 0 <= self.drop <= 1):
            raise InvalidRequest(
                f"chance {self.chance}, floor {self.floor}, drop {self.drop}",
                hint="chance 0 or more, the others from 0 to 1",
            )
        if self.most < 0:
            raise InvalidRequest(f"{self.most} positions are opened in a step", hint="0 or more")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return EasyFirstState(self)


class EasyFirstState(OrderState):
    """Remembers the window's size and steps."""

    def __init__(self, settings: EasyFirst) -> None:
        self.settings = settings
        self.masks = self.steps = 0

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.masks = len(canvas.masks(window))
        self.steps = steps_of(self.settings.steps, canvas, window)

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        masks = canvas.masks(window)
        return np.union1d(masks, canvas.written(window)) if self.settings.most else masks

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        step = canvas.window_step + 1
        masks = np.flatnonzero(canvas.open[prediction.positions])
        left = remaining(self.masks, step, self.steps)
        left = max(0, min(left, len(masks) - 1))  # less where a constraint has filled more than was chosen
        back = self._doubtful(canvas, prediction, step, left)
        score = self._score(canvas, prediction, step)[masks]
        fill = masks[surest(score, len(masks) - left + len(back))]
        return Delta(Delta.of(prediction, fill).commit, frozenset(prediction.positions[back].tolist()))

    def _score(self, canvas: Canvas, prediction: Prediction, step: int) -> Floats:
        confidence = prediction.confidence(MEASURES[self.settings.by])
        heat = self.settings.chance * max(0.0, 1 - step / self.steps)
        if not heat:
            return confidence
        with np.errstate(divide="ignore"):
            logs = np.log(confidence)
        noisy: Floats = logs + heat * gumbel(canvas.rule, prediction.positions, canvas.step, Use.RANK)
        return noisy

    def _doubtful(self, canvas: Canvas, prediction: Prediction, step: int, left: int) -> Positions:
        """Indices of what is opened again: as many as may stay masked after this step, at most."""
        settings = self.settings
        written = np.flatnonzero(~canvas.open[prediction.positions])
        if not settings.most or not len(written):
            return none()
        at = prediction.positions[written]
        now = prediction.probability(canvas.ids[prediction.positions])[written]
        fallen = canvas.sure[at] - now
        doubtful = np.flatnonzero((now < settings.floor * step / self.steps) | (fallen > settings.drop))
        return written[doubtful[surest(-now[doubtful], min(settings.most, left))]]


def remaining(masks: int, step: int, steps: int) -> int:
    """How many of a window's masks are left after step 1, 2, … of so many; each step fills one at least."""
    share = math.cos(math.pi * min(step, steps) / (2 * steps))
    return max(0, min(math.floor(masks * share), masks - step))
