"""Learn2PD's order: a small trained network says which predictions are final already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ..canvas import Canvas, Delta, Span
from ..contract import World
from ..filter import NAME, Filter, features
from ..prediction import Prediction
from .contract import Order, OrderState

ENTRY = Entry(
    name="learn2pd",
    family="diffusion",
    source="arXiv 2509.25188; code github.com/ims-kdks/Learning-to-Parallel-Decoding",
    parts="learned+blocks(32)+end-of-text",
    guarantee=Guarantee.APPROXIMATE,
    number=7,
    needs=("masked-diffusion model", "filter trained on its steps"),
    training="head",
    summary="a filter of some two thousand numbers reads a block's confidences and fills what it takes for final",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class Learned(Order):
    """All positions whose prediction the filter takes for final, and always the surest.

    A filter belongs to the model, the refresh and the width of window it was trained with (see `stretto train filter`).
    Above 1 nothing is final: the family's baseline.
    """

    file: str = ""  # the filter; empty: filter.npz beside the model's weights
    least: float = 0.96  # probability of being final above which a position is filled; ≥ 0

    name: ClassVar[str] = "learned"

    def __post_init__(self) -> None:
        if not self.least >= 0:
            raise InvalidRequest(f"positions are filled from probability {self.least}", hint="0 or more")

    def check(self, world: World) -> None:
        if not self.file:  # a named one is read when the decode begins
            self._path(world.model.name)

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        path = self._path(context.target.name)
        judge = context.remembered(Filter, path, lambda: Filter.load(path), version=path.stat().st_mtime_ns)
        return LearnedState(judge, self.least)

    def _path(self, model: str) -> Path:
        """Where the filter is. Raises InvalidRequest where there is none."""
        path = Path(self.file).expanduser() if self.file else Path(model) / NAME
        if not path.is_file():
            raise InvalidRequest(
                f"there is no filter at {path}", hint="learned(file=PATH); `stretto train filter` makes one"
            )
        return path


class LearnedState(OrderState):
    """Remembers nothing."""

    def __init__(self, judge: Filter, least: float) -> None:
        self.judge = judge
        self.least = least

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        size, width = window.end - window.start, self.judge.width
        if size > width:
            raise Unsupported(
                f"the filter was trained for windows of {width} positions, this one has {size}",
                hint=f"add blocks({width})",
            )

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence("raw")
        final = self.judge(features(window, prediction.positions, confidence, self.judge.width))
        taken = final[prediction.positions - window.start] > self.least
        taken[confidence.argmax()] = True
        return Delta.of(prediction, np.flatnonzero(taken))
