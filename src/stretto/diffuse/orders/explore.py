"""Explore, then exploit: beside all sure positions one that is least sure, as knowing it makes others sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ...speculate.contract import Context
from ..contract import Canvas, Delta, Order, Ordering, Span
from ..proposal import Proposal, surest

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

MEASURES = {"entropy": "raw-entropy", "margin": "raw-margin"}  # -> `proposal.Confidence`


@dataclass(frozen=True, slots=True)
class Explore(Order):
    """Fills what is of confidence `least`, and the `positions` least sure ones of the block that is to be full first.

    A round resolves at most as much as it fills is uncertain, so rounds that fill nothing but certainties are many.
    Ahead of the block nothing is filled behind a possible end of the text, and what proposes an end token is never
    explored. Without exploring it is the threshold order. Each explored position counts for itself: several that
    depend on each other are better not filled together.
    """

    least: float = 0.9  # confidence from which a position is filled, ≥ 0
    positions: int = 1  # explored in a step, ≥ 0
    by: Literal["entropy", "margin"] = "entropy"  # by which a position is least sure

    name: ClassVar[str] = "explore"
    slides: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.least >= 0:
            raise InvalidRequest(f"positions are filled from confidence {self.least}", hint="0 or more")
        if self.positions < 0:
            raise InvalidRequest(f"{self.positions} positions are explored in a step", hint="0 or more; 1 as specified")
        if self.by not in MEASURES:
            raise InvalidRequest(f"doubt is not measured by {self.by!r}", hint=closest(self.by, MEASURES))

    def open(self, canvas: Canvas, context: Context) -> Ordering:
        return ExploreOrdering(self)


class ExploreOrdering(Ordering):
    """Remembers nothing."""

    def __init__(self, settings: Explore) -> None:
        self.settings = settings

    def choose(self, canvas: Canvas, proposal: Proposal, window: Span) -> Delta:
        settings = self.settings
        confidence = proposal.confidence("raw")
        front = proposal.positions < (window if canvas.front is None else canvas.front).end
        ending = np.isin(proposal.tokens, list(canvas.ends))
        reachable = front | (proposal.positions <= self._end(canvas, proposal, window, ending))
        taken = (confidence >= settings.least) & reachable
        open_ones = np.flatnonzero(front & ~taken & ~ending)
        if settings.positions and len(open_ones):
            doubt = -proposal.confidence(MEASURES[settings.by])[open_ones]
            taken[open_ones[surest(doubt, settings.positions)]] = True
        if not taken.any():
            taken[surest(np.where(front, confidence, -np.inf), 1)] = True
        return Delta.of(proposal, np.flatnonzero(taken))

    def _end(self, canvas: Canvas, proposal: Proposal, window: Span, ending: NDArray[np.bool_]) -> int:
        """The first position at which the text may end, as far as is known or proposed; else the canvas's end."""
        ends = list(canvas.ends)
        written = canvas.prompt + np.flatnonzero(np.isin(canvas.ids[canvas.prompt : window.end], ends))
        return int(min(written.min(initial=len(canvas)), proposal.positions[ending].min(initial=len(canvas))))
