"""Threshold, and where two blocks meet a second look at what was unsure (arXiv 2605.09820)."""

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
class Weld(Order):
    """All positions that are sure enough, always the surest; with a block's last ones its edges are welded.

    Where both sides of an edge are full, tokens near it that were filled with little confidence before this step are
    taken back, once for each edge, and filled again in the light of both sides. How sure is sure enough there is not
    published. With reach 0 it is 'threshold'.
    """

    least: float = 0.9  # confidence from which a position is filled, ≥ 0
    reach: int = 2  # positions on either side of an edge, ≥ 0
    below: float = 0.9  # confidence below which they are taken back

    name: ClassVar[str] = "weld"
    revises: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.least >= 0 or self.reach < 0 or not self.below >= 0:
            raise InvalidRequest(
                f"confidence {self.least}, and {self.below} within {self.reach} of an edge", hint="0 or more each"
            )

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return WeldState(self)


class WeldState(OrderState):
    """Remembers which edges it has seen."""

    def __init__(self, settings: Weld) -> None:
        self.settings = settings
        self.welded: set[int] = set()  # the positions right of them

    def spare(self, canvas: Canvas, window: Span) -> int:
        return 4 * self.settings.reach  # two edges, both sides of each

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence("raw")
        sure = np.flatnonzero(confidence >= self.settings.least)
        delta = Delta.of(prediction, sure if len(sure) else surest(confidence, 1))
        if not self.settings.reach or len(delta.commit) < len(canvas.masks(window)):
            return delta
        taken = {at for edge in (window.start, window.end) for at in self._unsure(canvas, delta, edge)}
        return Delta(delta.commit, frozenset(taken))

    def _unsure(self, canvas: Canvas, delta: Delta, edge: int) -> list[int]:
        """What to take back near an edge that is full on both sides now."""
        if edge in self.welded or not canvas.prompt < edge < len(canvas):
            return []
        if any(canvas.filled[at] < 0 and at not in delta.commit for at in (edge - 1, edge)):  # open, or given
            return []
        self.welded.add(edge)
        near = range(max(edge - self.settings.reach, 0), min(edge + self.settings.reach, len(canvas)))
        return [at for at in near if canvas.filled[at] >= 0 and canvas.sure[at] < self.settings.below]
