"""KLASS: a position is filled once the model is sure of it and has stopped changing its mind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span, none
from ..prediction import Positions, Prediction, surest
from .contract import Order, OrderState

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="klass",
    family="diffusion",
    source="arXiv 2511.05664; code github.com/shkim0116/KLASS",
    parts="stable",
    guarantee=Guarantee.APPROXIMATE,
    needs=("masked-diffusion model",),
    summary="all positions that are sure and whose distribution has moved little over the last steps",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class Stable(Order):
    """Surer than `least`, and KL(now ‖ before) < `drift` at each of the last `steps`; else the surest alone.

    At drift 0 one position a step: the family's baseline. With 0 steps a threshold. What came before a window is not
    compared with; how many steps are published is unconfirmed.
    """

    least: float = 0.9  # confidence above which a position may be filled; ≥ 0
    drift: float = 0.01  # nats, ≥ 0
    steps: int = 2  # comparisons in a row, ≥ 0

    name: ClassVar[str] = "stable"

    def __post_init__(self) -> None:
        if not (self.least >= 0 and self.drift >= 0):
            raise InvalidRequest(
                f"positions are filled above confidence {self.least}, below a drift of {self.drift} nats",
                hint="both 0 or more",
            )
        if self.steps < 0:
            raise InvalidRequest(f"a position stays stable for {self.steps} steps", hint="0 or more")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return StableState(self)


class StableState(OrderState):
    """Remembers what the model said at the step before, and for how long each position has been still."""

    def __init__(self, settings: Stable) -> None:
        self.settings = settings
        self.positions: Positions = none()  # [m] of the step before, ascending
        self.logs: Tensor | None = None  # [m, V]
        self.still: Positions = none()  # [m] comparisons in a row below the drift

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.positions, self.logs, self.still = none(), None, none()

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        confidence = prediction.confidence("raw")
        ready = confidence > self.settings.least
        if self.settings.steps:
            self._compare(prediction)
            ready &= self.still >= self.settings.steps
        found = np.flatnonzero(ready)
        return Delta.of(prediction, found if len(found) else surest(confidence, 1))

    def _compare(self, prediction: Prediction) -> None:
        now, still = prediction.logs, np.zeros(len(prediction.positions), np.int64)
        if self.logs is not None:
            both = np.flatnonzero(np.isin(prediction.positions, self.positions))
            before = np.searchsorted(self.positions, prediction.positions[both])
            drift = _divergence(now[both], self.logs[before])
            still[both] = np.where(drift < self.settings.drift, self.still[before] + 1, 0)
        self.positions, self.logs, self.still = prediction.positions, now, still


def _divergence(now: Tensor, before: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """KL(now ‖ before) in nats [n], of log-probabilities [n, V]; excluded tokens add nothing."""
    terms = now.exp() * (now - before).where(now > -torch.inf, 0.0)
    return terms.sum(-1).double().cpu().numpy()
