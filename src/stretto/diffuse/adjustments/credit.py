"""CreditDecoding: what was predicted again and again is predicted more surely."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Span, none
from ..prediction import Prediction
from .contract import Adjustment, AdjustmentState

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY = Entry(
    name="credit-decoding",
    family="diffusion",
    source="arXiv 2510.06133; code github.com/inclusionAI/dInfer",
    parts="threshold+blocks(32)+credit",
    guarantee=Guarantee.APPROXIMATE,
    number=249,
    needs=("masked-diffusion model",),
    summary="adds to a token's logit for having been the likeliest at earlier steps, so that it is sure sooner",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class Credit(Adjustment):
    """Each step all credit of a position fades, and its likeliest token earns its probability to the `power`.

    A token of credit C has its logit raised by weight · ln(1 + C), at most weight · ln(1 + 1/(1 − fade)). Positions
    that are not computed neither gain nor lose; a new window begins without credit. With weight 0 nothing changes.
    Tokens are chosen from the raised logits; what is reported as the model's own probability is without them.
    """

    weight: float = 0.7  # ≥ 0, of the logarithm
    power: float = 0.2  # ≥ 0
    fade: float = 0.8  # 0 ≤ fade < 1, what is left of a step's credit at the next

    name: ClassVar[str] = "credit"

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and math.isfinite(self.weight) and self.power >= 0 and 0 <= self.fade < 1):
            raise InvalidRequest(
                f"credit(weight={self.weight},power={self.power},fade={self.fade})",
                hint="weight >= 0, power >= 0, 0 <= fade < 1",
            )

    def open(self, canvas: Canvas, context: Context) -> AdjustmentState:
        return CreditState(self)


class CreditState(AdjustmentState):
    """Remembers the credit of each token that ever was the likeliest of its position in this window."""

    def __init__(self, settings: Credit) -> None:
        self.settings = settings
        self._empty()

    def _empty(self) -> None:
        self.positions = none()  # [m], with `tokens` ascending
        self.tokens = none()  # [m]
        self.credits: NDArray[np.float64] = np.zeros(0)  # [m]

    def fork(self) -> Self:
        return copy.copy(self)  # the arrays are replaced, never changed

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self._empty()

    def adjust(self, canvas: Canvas, prediction: Prediction, window: Span) -> Prediction:
        if not self.settings.weight:
            return prediction
        best = prediction.best
        self._earn(prediction, best)
        mine = np.flatnonzero(np.isin(self.positions, prediction.positions))
        rows = np.searchsorted(prediction.positions, self.positions[mine])
        logits = prediction.logits.clone()
        raised = torch.from_numpy(self.settings.weight * np.log1p(self.credits[mine])).to(logits)
        at = [torch.from_numpy(each).to(logits.device) for each in (rows, self.tokens[mine])]
        return prediction.under(logits.index_put_(tuple(at), raised, accumulate=True))

    def _earn(self, prediction: Prediction, best: NDArray[np.int64]) -> None:
        """A step of the credits: those of computed positions fade, then the likeliest tokens earn theirs."""
        here = np.isin(self.positions, prediction.positions)
        faded = np.where(here, self.settings.fade * self.credits, self.credits)
        earned = prediction.probability(best) ** self.settings.power
        positions = np.concatenate([self.positions, prediction.positions])
        tokens = np.concatenate([self.tokens, best])
        pairs, which = np.unique(np.stack([positions, tokens]), axis=1, return_inverse=True)
        self.positions, self.tokens = pairs[0], pairs[1]
        self.credits = np.zeros(pairs.shape[1])
        np.add.at(self.credits, which.ravel(), np.concatenate([faded, earned]))
