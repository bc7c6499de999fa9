"""No early stop: the whole canvas is filled, and cut at the first end token afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ..canvas import Canvas, Delta
from ..prediction import Prediction
from .contract import Stop, StopState


@dataclass(frozen=True, slots=True)
class Fill(Stop):
    """The reference: as the published samplers do. A stop string ends a row as soon as the text before it is known."""

    name: ClassVar[str] = "fill"
    fills: ClassVar[bool] = False

    def open(self, canvas: Canvas, context: Context) -> StopState:
        return Filling()


class Filling(StopState):
    """Remembers nothing."""

    def ended(self, canvas: Canvas, prediction: Prediction) -> Delta | None:
        return None
