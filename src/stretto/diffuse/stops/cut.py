"""End-of-text prediction: what stands behind an end token is dropped as soon as it is there (arXiv 2509.25188)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ..canvas import Canvas, Delta, Span, none
from ..prediction import Positions, Prediction
from .contract import Stop, StopState


@dataclass(frozen=True, slots=True)
class Cut(Stop):
    """The canvas ends at the first end token that is filled; what is open before it is filled on the shorter canvas.

    That changes what the positions before it see. `safe` waits until nothing before it is open: then only the rest is
    saved, and the text is that of the whole canvas. Nothing is cut where given tokens stand behind.
    """

    safe: bool = False  # only once everything before the end token is filled
    predicted: bool = False  # without an end token, cut at the surest one that is only predicted, wherever it is

    name: ClassVar[str] = "cut-at-end"

    def open(self, canvas: Canvas, context: Context) -> StopState:
        return CutState(self)


class CutState(StopState):
    """Remembers nothing."""

    def __init__(self, settings: Cut) -> None:
        self.settings = settings

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        return np.flatnonzero(canvas.open) if self.settings.predicted else none()

    def ended(self, canvas: Canvas, prediction: Prediction) -> Delta | None:
        end = self._end(canvas, prediction)
        if end is not None and end < canvas.limit and not canvas.frozen[end:].any():
            canvas.cut(end)
            canvas.limit = end
        return None

    def _end(self, canvas: Canvas, prediction: Prediction) -> int | None:
        """Where the canvas shall end."""
        ends = list(canvas.ends)
        found = canvas.prompt + np.flatnonzero(np.isin(canvas.ids[canvas.prompt :], ends))
        if len(found):
            first = int(found[0])
            return None if self.settings.safe and canvas.ready < first else first + 1
        if self.settings.predicted:
            rest = prediction.at(np.flatnonzero(canvas.open))
            foreseen = np.flatnonzero(np.isin(rest.tokens, ends))
            if len(foreseen):
                return int(rest.positions[foreseen[rest.confidence("raw")[foreseen].argmax()]]) + 1
        return None
