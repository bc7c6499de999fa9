"""Ascending step size: each step fills twice as many positions as the one before (arXiv 2509.23924)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest, closest
from ..contract import Canvas, Delta, Order, Ordering, Span
from ..proposal import CONFIDENCES, Proposal, surest
from ..schedule import ascending


@dataclass(frozen=True, slots=True)
class Ascending(Order):
    """Of a canvas of n positions, ⌊log₂ n⌋ steps: 1, 2, 4 … of the surest, and all that is left in the last.

    The steps are counted over the whole decode: a window that ends early passes on to the next size, and 'ascending-
    blocks' are cut so that none does. With growth 1 one position a step, the family's baseline.
    """

    growth: int = 2  # ≥ 1
    by: str = "raw"  # a measure of confidence, see `proposal.Confidence`

    name: ClassVar[str] = "ascending"
    slides: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.growth < 1:
            raise InvalidRequest(f"steps grow by the factor {self.growth}", hint="1 or more; 2 as published")
        if self.by not in CONFIDENCES:
            raise InvalidRequest(f"{self.by!r} is no measure of confidence", hint=closest(self.by, CONFIDENCES))

    def open(self, canvas: Canvas, context: Context) -> Ordering:
        return AscendingOrdering(self, canvas.total)


class AscendingOrdering(Ordering):
    """Remembers the sizes of all steps."""

    def __init__(self, settings: Ascending, total: int) -> None:
        self.by = settings.by
        self.sizes = ascending(max(1, total), settings.growth)

    def choose(self, canvas: Canvas, proposal: Proposal, window: Span) -> Delta:
        last = len(self.sizes) - 1
        count = self.sizes[canvas.step] if canvas.step < last else len(proposal.positions)
        if self.sizes[last] == 1:  # nothing grows
            count = 1
        return Delta.of(proposal, surest(proposal.confidence(self.by), count))
