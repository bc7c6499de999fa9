"""Layers that stand evenly over the target guess, as many as a wished speed leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from .contract import Layers

ENTRY = Entry(
    name="unified-layer-skipping",
    family="heads",
    source="arXiv 2404.06954 (its schedule of skipped layers, here for drafts that all layers verify)",
    parts="draft(evenly(1.2))+fixed(4)",
    guarantee=Guarantee.EXACT,
    number=234,
    needs=("ranges of layers", "hidden states"),
    summary="of L layers L / r guess, spread evenly, the first and the last among them",
    generation="target's parts",
    branch="speculative",
)


@dataclass(frozen=True, slots=True)
class Evenly(Layers):
    """Keep round(L / speed) of L layers, two at least: those at round(i · (L - 1) / (kept - 1))."""

    speed: float = 2.0  # layers of the target for each one that guesses, ≥ 1; 1: the target itself

    name: ClassVar[str] = "evenly"

    def __post_init__(self) -> None:
        if self.speed < 1:
            raise InvalidRequest(f"evenly({self.speed})", hint="speed >= 1")

    def of(self, layers: int) -> tuple[int, ...]:
        """
        >>> Evenly(3.0).of(32)
        (0, 3, 6, 9, 12, 16, 19, 22, 25, 28, 31)
        """
        kept = min(layers, max(2, round(layers / self.speed)))
        return tuple(round(i * (layers - 1) / max(1, kept - 1)) for i in range(kept))
