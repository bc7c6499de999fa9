"""The target's first layers guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from .contract import Layers, too_few

ENTRY = Entry(
    name="layerskip",
    family="heads",
    source="arXiv 2404.16710; github.com/facebookresearch/LayerSkip (its self-speculation)",
    parts="draft(first(4))+fixed(4)",
    guarantee=Guarantee.EXACT,
    needs=("ranges of layers", "hidden states"),
    summary="the target's first layers and its head guess a chain, all layers verify it",
    generation="target's parts",
    training="target",
    branch="speculative",
)


@dataclass(frozen=True, slots=True)
class First(Layers):
    """Leave the target after so many layers, and read the rows by its last norm and head.

    A target guesses well so early only if it was trained to, by losses at early exits.
    """

    count: int = 2  # of layers, ≥ 1; all of them: the target itself

    name: ClassVar[str] = "first"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidRequest(f"first({self.count})", hint="count >= 1")

    def of(self, layers: int) -> tuple[int, ...]:
        if self.count > layers:
            raise too_few(f"first({self.count})", layers)
        return tuple(range(self.count))
