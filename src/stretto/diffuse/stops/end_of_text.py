"""Stop at an end token once everything before it is known: the rest would be cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ..canvas import NOTHING, Canvas, Delta
from ..prediction import Prediction
from .contract import Stop, StopState


@dataclass(frozen=True, slots=True)
class EndOfText(Stop):
    """The same text as filling the canvas, unless the order would have taken the end token back."""

    name: ClassVar[str] = "end-of-text"
    fills: ClassVar[bool] = False

    def open(self, canvas: Canvas, context: Context) -> StopState:
        return Ending()


class Ending(StopState):
    """Remembers how far it has looked."""

    def __init__(self) -> None:
        self.scanned = 0  # positions known to hold no end token

    def ended(self, canvas: Canvas, prediction: Prediction) -> Delta | None:
        start, ready = max(self.scanned, canvas.prompt), canvas.ready
        if any(token in canvas.ends for token in canvas.ids[start:ready].tolist()):
            return NOTHING
        self.scanned = ready
        return None
