"""ReMDM's loop: near the end, take back what was least sure when it was filled, and fill again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span
from ..prediction import Positions, Prediction, surest
from ..quotas import require_steps, steps_of, transfers
from .contract import Order, OrderState

ENTRY = Entry(
    name="remdm",
    family="diffusion",
    source="arXiv 2503.00307 (its loop, as baselines use it)",
    parts="remask-loop",
    guarantee=Guarantee.APPROXIMATE,
    needs=("masked-diffusion model",),
    summary="towards the end the least sure positions are opened and filled again, several times",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class RemaskLoop(Order):
    """Like `low-confidence`; once a window is filled to `begin`, `loops` times: open `count` positions, fill as many.

    Opened are those with the lowest probability at the time they were filled, filled the surest. With 0 loops it is
    `low-confidence`, step for step.
    """

    loops: int = 8  # ≥ 0
    count: int = 1  # positions of each loop, ≥ 1
    begin: float = 0.875  # share of the window, 0 to 1
    steps: int = 0  # of the whole canvas without the loops, ≥ 1; 0: one for each position

    name: ClassVar[str] = "remask-loop"
    revises: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if self.loops < 0 or self.count < 1:
            raise InvalidRequest(
                f"{self.loops} loops over {self.count} positions", hint="0 loops or more over 1 position or more"
            )
        if not 0 <= self.begin <= 1:
            raise InvalidRequest(f"the loops begin at {self.begin} of a window", hint="0 to 1; 0.875 as published")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return RemaskLoopState(self)


class RemaskLoopState(OrderState):
    """Remembers how many positions each ordinary step fills, how far it is, and what a loop has left to fill."""

    def __init__(self, settings: RemaskLoop) -> None:
        self.settings = settings
        self.quota: list[int] = []  # of the ordinary steps that are left
        self.due = 0  # positions of the window that are filled when the loops begin
        self.left = 0  # loops
        self.opened = 0  # positions that the last step opened
        self.times: dict[int, int] = {}  # how often each was: windows that move with what is open would go on for ever

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        masks = len(canvas.masks(window))
        self.quota = transfers(masks, steps_of(self.settings.steps, canvas, window))
        self.due = int(np.ceil(self.settings.begin * (masks + len(canvas.written(window)))))
        self.left, self.opened = self.settings.loops, 0

    def spare(self, canvas: Canvas, window: Span) -> int:
        return self.settings.loops + self.settings.count if self.settings.loops else 0

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence("raw")
        fill = surest(confidence, self.opened or self.quota.pop(0))
        written = canvas.written(window)
        if not self.left or len(written) + len(fill) < self.due:
            self.opened = 0
            return Delta.of(prediction, fill)
        self.left -= 1
        taken = self._take_back(canvas, prediction, fill, written)
        self.opened = len(taken)
        for position in taken.tolist():
            self.times[position] = self.times.get(position, 0) + 1
        stays = fill[~np.isin(prediction.positions[fill], taken)]
        return Delta(Delta.of(prediction, stays).commit, frozenset(np.intersect1d(taken, written).tolist()))

    def _take_back(self, canvas: Canvas, prediction: Prediction, fill: Positions, written: Positions) -> Positions:
        """Positions that were least sure when they were filled; those of this step may be among them."""
        positions = np.concatenate([written, prediction.positions[fill]])
        sure = np.concatenate([canvas.sure[written], prediction.confidence("raw")[fill]])
        free = np.flatnonzero([self.times.get(at, 0) < self.settings.loops for at in positions.tolist()])
        return positions[free[surest(-sure[free], self.settings.count)]]
