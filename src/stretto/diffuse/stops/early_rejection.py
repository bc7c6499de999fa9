"""End-token early rejection: an end token counts for little at first, and fully at the end (arXiv 2509.23924)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span
from ..prediction import Prediction
from .contract import Stop, StopState

ENTRY = Entry(
    name="eoser",
    family="diffusion",
    source="arXiv 2509.23924; code github.com/yjyddq/EOSER-ASS-RL",
    parts="ascending+early-rejection(0.01,doubling=true)",
    guarantee=Guarantee.APPROXIMATE,
    number=130,
    needs=("masked-diffusion model",),
    summary="twice as many positions each step, end tokens held back at first: a whole canvas in log₂ n steps",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class EarlyRejection(Stop):
    """Multiplies how sure the model is of an end token by a factor that rises over the steps of the decode.

    Without it the end tokens that fill up training data come first, and answers are empty where the canvas is one
    block. The canvas is filled to its end. With `least` 1 nothing is held back.
    """

    least: float = 0.4  # factor at the first step; above 0, ≤ most
    most: float = 1.0  # at the last, ≤ 1
    steps: int = 0  # of the whole decode, ≥ 1; 0: one for each position, or the log₂ of that with `doubling`
    doubling: bool = False  # rises as what is filled when each step fills twice as many as the one before

    name: ClassVar[str] = "early-rejection"

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most <= 1:
            raise InvalidRequest(f"factors from {self.least} to {self.most}", hint="above 0, rising, up to 1")
        if self.steps < 0:
            raise InvalidRequest(f"{self.steps} steps", hint="1 or more; 0: as the canvas has positions")

    def open(self, canvas: Canvas, context: Context) -> StopState:
        positions = max(1, canvas.total)
        return EarlyRejectionState(
            self, self.steps or (max(1, positions.bit_length() - 1) if self.doubling else positions)
        )


class EarlyRejectionState(StopState):
    """Remembers how many steps there are."""

    def __init__(self, settings: EarlyRejection, steps: int) -> None:
        self.settings = settings
        self.steps = steps

    def adjust(self, canvas: Canvas, prediction: Prediction, window: Span) -> Prediction:
        if not canvas.ends or (factor := self.factor(canvas.step)) == 1:
            return prediction
        return prediction.weighed(np.where(np.isin(prediction.tokens, list(canvas.ends)), factor, 1.0))

    def ended(self, canvas: Canvas, prediction: Prediction) -> Delta | None:
        return None

    def factor(self, step: int) -> float:
        """What the confidence of an end token is multiplied by at step 0, 1, …"""
        least, most = self.settings.least, self.settings.most
        step = min(step, self.steps - 1)
        if self.settings.doubling:
            return least + (most - least) * (2.0 ** (step + 1) - 1) / 2.0**self.steps
        return most if self.steps == 1 else least + (most - least) * step / (self.steps - 1)
