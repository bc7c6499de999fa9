"""PC-Sampler: a fixed number of positions each step, by confidence less what any text would say, and from the left."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..background import Floats, of_store, require_padding
from ..canvas import Canvas, Delta, Span
from ..prediction import Prediction, surest
from ..quotas import require_steps, steps_of, transfers
from .contract import Order, OrderState

ENTRY = Entry(
    name="pc-sampler",
    family="diffusion",
    source="arXiv 2508.13021; code github.com/NEUIR/PC-Sampler",
    parts="position-aware",
    guarantee=Guarantee.APPROXIMATE,
    number=101,
    needs=("masked-diffusion model", "datastore"),
    summary="as many positions each step: what is surer than its token is common, nearest to the block's start first",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)

TINY = 1e-9  # added to frequencies


@dataclass(frozen=True, slots=True)
class PositionAware(Order):
    """The score of position j of the window is e^(−lean·j) · min(−p ln f, most): p is the raw probability of the
    predicted token, f its frequency in a corpus.

    Tokens that are everywhere come late, and so does what stands far to the right. With a large `lean` it goes from
    left to right; with 0, and all tokens equally frequent, it is `low-confidence`. Published for leans: 0.25, Sudoku
    0, Countdown 1. The published linear weight is left out. A confidently wrong rare token is promoted too.
    """

    path: str = "stretto.store"  # folder of a datastore of texts, as `stretto store build` writes it
    lean: float = 0.25  # ≥ 0, per position
    most: float = 10.0  # nats, above 0
    padding: float = 1.0  # end tokens counted for each text, ≥ 0; more where the model was trained on padded answers
    steps: int = 0  # for the whole canvas, ≥ 1; 0: one for each position

    name: ClassVar[str] = "position-aware"

    def __post_init__(self) -> None:
        require_steps(self.steps)
        require_padding(self.padding)
        if not (self.lean >= 0 and math.isfinite(self.lean) and self.most > 0):
            raise InvalidRequest(
                f"{self.name} leans by {self.lean} and counts {self.most} nats at most", hint="lean >= 0, most > 0"
            )

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return PositionAwareState(self, of_store(self.path, context, canvas.ends, self.padding))


class PositionAwareState(OrderState):
    """Remembers how many positions each step of the window fills."""

    def __init__(self, settings: PositionAware, frequencies: Floats) -> None:
        self.settings = settings
        self.surprise: Floats = -np.log(frequencies + TINY)  # nats [V]
        self.quota: list[int] = []

    def fork(self) -> Self:
        return copy.copy(self)  # the surprise is shared, and the quota replaced

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.quota = transfers(len(canvas.masks(window)), steps_of(self.settings.steps, canvas, window))

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        return Delta.of(prediction, surest(self.scores(prediction, window), self.quota[canvas.window_step]))

    def scores(self, prediction: Prediction, window: Span) -> Floats:
        """Logarithms of the scores [n], as the scores themselves would vanish far to the right."""
        said = prediction.confidence("raw") * self.surprise[prediction.tokens]
        tiniest = np.finfo(np.float64).tiny
        offsets = prediction.positions - window.start
        scores: Floats = np.log(said.clip(tiniest, self.settings.most)) - self.settings.lean * offsets
        return scores
