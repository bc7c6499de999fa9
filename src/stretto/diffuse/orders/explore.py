"""Explore, then exploit: beside all sure positions one that is least sure, as knowing it makes others sure.

With branches the next round evaluates it with several tokens, and keeps the one that makes most others sure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ..canvas import Canvas, Delta, Span
from ..prediction import Prediction, surest
from .abilities import Branching
from .contract import OrderState

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY = Entry(
    name="ete",
    family="diffusion",
    source="arXiv 2511.21103 (From Bits to Rounds); no code released",
    parts="explore+look-ahead(32,more=1)",
    guarantee=Guarantee.APPROXIMATE,
    number=59,
    needs=("masked-diffusion model",),
    confirmed=False,  # how far the window reaches, how many positions are explored, and in how many branches
    summary="all sure positions of this block and the next, and the least sure one of this block",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)

MEASURES = {"entropy": "raw-entropy", "margin": "raw-margin"}  # -> `prediction.Confidence`


@dataclass(frozen=True, slots=True)
class Explore(Branching):
    """Fills what is of confidence `least`, and the `positions` least sure ones of the block that is to be full first.

    A round resolves at most as much as it fills is uncertain, so rounds that fill nothing but certainties are many.
    Ahead of the block nothing is filled behind a possible end of the text, and what predicts an end token is never
    explored. Without exploring it is the threshold order. Each explored position counts for itself: several that
    depend on each other are better not filled together.

    With `branches` above 1 the explored position has the predicted token and the likeliest others, each on a canvas of
    its own in the next evaluation; the one on which most positions are sure is kept, of equals the predicted, then the
    likelier. That costs row-forwards and no rounds.
    """

    least: float = 0.9  # confidence from which a position is filled, ≥ 0
    positions: int = 1  # explored in a step, ≥ 0
    by: Literal["entropy", "margin"] = "entropy"  # by which a position is least sure
    branches: int = 1  # tokens tried at the explored position, ≥ 1; published 1 to 4

    name: ClassVar[str] = "explore"
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.least >= 0:
            raise InvalidRequest(f"positions are filled from confidence {self.least}", hint="0 or more")
        if self.positions < 0:
            raise InvalidRequest(f"{self.positions} positions are explored in a step", hint="0 or more; 1 as specified")
        if self.by not in MEASURES:
            raise InvalidRequest(f"doubt is not measured by {self.by!r}", hint=closest(self.by, MEASURES))
        if self.branches < 1 or (self.branches > 1 and self.positions != 1):
            raise InvalidRequest(
                f"{self.branches} tokens are tried at {self.positions} positions", hint="1 or more, at one position"
            )

    @property
    def offers(self) -> bool:
        return self.branches > 1

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return ExploreState(self)

    def worth(self, canvas: Canvas, prediction: Prediction, window: Span) -> float:
        """How many positions are sure."""
        return float(_sure(self, canvas, prediction, window).sum())


class ExploreState(OrderState):
    """Remembers nothing."""

    def __init__(self, settings: Explore) -> None:
        self.settings = settings

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        settings = self.settings
        front, ending = _front(canvas, prediction, window), _ending(canvas, prediction)
        taken = _sure(settings, canvas, prediction, window)
        open_ones = np.flatnonzero(front & ~taken & ~ending)
        others: dict[int, tuple[int, ...]] = {}
        if settings.positions and len(open_ones):
            doubt = -prediction.confidence(MEASURES[settings.by])[open_ones]
            explored = open_ones[surest(doubt, settings.positions)]
            taken[explored] = True
            if settings.branches > 1:
                others = {
                    int(prediction.positions[at]): self._others(canvas, prediction, at) for at in explored.tolist()
                }
        if not taken.any():
            taken[surest(np.where(front, prediction.confidence("raw"), -np.inf), 1)] = True
        return replace(Delta.of(prediction, np.flatnonzero(taken)), others=others)

    def _others(self, canvas: Canvas, prediction: Prediction, at: int) -> tuple[int, ...]:
        """The likeliest tokens that may stand there beside the predicted one; no end token, as with that one."""
        weights = prediction.at(prediction.positions[[at]]).steered[0]
        shunned = {int(prediction.tokens[at]), *canvas.ends}
        best = weights.topk(min(len(weights), self.settings.branches - 1 + len(shunned)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        found = [token for token, weight in pairs if token not in shunned and weight > -np.inf]
        return tuple(found[: self.settings.branches - 1])


def _sure(settings: Explore, canvas: Canvas, prediction: Prediction, window: Span) -> NDArray[np.bool_]:
    """Where positions are filled whatever is explored [n]."""
    front, ending = _front(canvas, prediction, window), _ending(canvas, prediction)
    reachable = front | (prediction.positions <= _end(canvas, prediction, window, ending))
    return np.asarray((prediction.confidence("raw") >= settings.least) & reachable)


def _front(canvas: Canvas, prediction: Prediction, window: Span) -> NDArray[np.bool_]:
    """Which positions stand in the block that is to be full first [n]."""
    return np.asarray(prediction.positions < (window if canvas.front is None else canvas.front).end)


def _ending(canvas: Canvas, prediction: Prediction) -> NDArray[np.bool_]:
    """Where an end token is predicted [n]."""
    return np.isin(prediction.tokens, list(canvas.ends))


def _end(canvas: Canvas, prediction: Prediction, window: Span, ending: NDArray[np.bool_]) -> int:
    """The first position at which the text may end, as far as is known or predicted; else the canvas's end."""
    ends = list(canvas.ends)
    written = canvas.prompt + np.flatnonzero(np.isin(canvas.ids[canvas.prompt : window.end], ends))
    return int(min(written.min(initial=len(canvas)), prediction.positions[ending].min(initial=len(canvas))))
