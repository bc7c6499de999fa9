"""ReDiff's order: fill the surest masks, and write over what the model would say otherwise by now."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span, none
from ..prediction import Positions, Prediction, surest
from ..quotas import require_steps, steps_of, transfers
from .contract import Order, OrderState

ENTRY = Entry(
    name="rediff",
    family="diffusion",
    source="arXiv 2510.19871; code github.com/jiyt17/ReDiff",
    parts="revise",
    guarantee=Guarantee.NONE,
    number=14,
    needs=("masked-diffusion model that was trained to correct",),
    training="target",
    summary="each step also rewrites what stands in the block and is no longer the likeliest",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class Revise(Order):
    """Like `low-confidence`; each step also sets the window's filled positions to the likeliest token, drawn or not.

    The model must have been trained to predict tokens that it sees (arXiv 2510.19871): others repeat them, or say
    anything. End tokens are not written over others. What the last step of a window fills is not read again. With
    share=0 it is `low-confidence`, step for step.
    """

    steps: int = 0  # for the whole canvas, ≥ 1; 0: one for each position
    share: float = 1.0  # of the filled positions, the surest first, 0 to 1
    begin: float = 0.0  # share of the window that is filled when revising begins, 0 to 1
    most: int = 2  # times that a position is rewritten, ≥ 0: two tokens may call for each other for ever

    name: ClassVar[str] = "revise"
    guarantee: ClassVar[Guarantee] = Guarantee.NONE
    revises: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if not (0 <= self.share <= 1 and 0 <= self.begin <= 1):
            raise InvalidRequest(
                f"{self.share} of what is filled is revised, from {self.begin} of the window on", hint="both 0 to 1"
            )
        if self.most < 0:
            raise InvalidRequest(f"a position is rewritten {self.most} times", hint="0 or more")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return ReviseState(self)


class ReviseState(OrderState):
    """Remembers how many positions each step of the window fills, and how often each position was rewritten."""

    def __init__(self, settings: Revise) -> None:
        self.settings = settings
        self.quota: list[int] = []
        self.masks = 0  # of the window when it opened
        self.times: dict[int, int] = {}  # by position

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.masks = len(canvas.masks(window))
        self.quota = transfers(self.masks, steps_of(self.settings.steps, canvas, window))
        self.times = {}

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        return np.union1d(canvas.masks(window), self._open_to_change(canvas, window))

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        masked = canvas.open[prediction.positions]
        masks, written = np.flatnonzero(masked), np.flatnonzero(~masked)
        fill = masks[surest(prediction.confidence("raw")[masks], self.quota[canvas.window_step])]
        revise = self._revise(canvas, prediction, written) if len(written) else {}
        for position in revise:
            self.times[position] = self.times.get(position, 0) + 1
        return Delta(Delta.of(prediction, fill).commit, revise=revise)

    def _open_to_change(self, canvas: Canvas, window: Span) -> Positions:
        written = canvas.written(window)
        if not self.settings.share or len(written) < self.settings.begin * self.masks:
            return none()
        return written[np.flatnonzero([self.times.get(at, 0) < self.settings.most for at in written.tolist()])]

    def _revise(self, canvas: Canvas, prediction: Prediction, written: Positions) -> dict[int, int]:
        """Other tokens for filled positions: indices `written` of the prediction."""
        best, at = prediction.best, prediction.positions
        sure = prediction.probability(best)[written]
        count = math.ceil(self.settings.share * len(written))
        return {
            int(at[index]): int(best[index])
            for index in written[surest(sure, count)]
            if best[index] != canvas.ids[at[index]] and int(best[index]) not in canvas.ends
        }
