"""A sparse tree for this machine: the likeliest places by depth and rank, as many as the clock says pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..contract import Drafting, Planner, Planning, Room
from ..economy.decision import Price
from ..economy.shapes import ByPlace, Known, Shape, ShapedPlanning

ENTRY = Entry(
    name="sparse-tree",
    family="speculate",
    source="arXiv 2401.10774 (Medusa: sparse trees by rank accuracy); arXiv 2402.12374 (size by the hardware)",
    parts="draft-tree+sparse",
    guarantee=Guarantee.EXACT,
    needs=("draft model", "tree windows"),
    summary="a static tree of the likeliest depths and ranks, in the size that pays on this machine",
)


@dataclass(frozen=True, slots=True)
class Sparse(Planner):
    """Learn the acceptance of each depth and rank; choose n and depth for the most tokens per second.

    The n likeliest places are the best tree of n nodes for such rates; the clock tells what n nodes cost, and what was
    drafted of late what a level costs. A drafter that costs next to nothing is not asked for a shape: its best nodes
    are kept.
    """

    most: int = 32  # nodes, ≥ 1
    depth: int = 8  # levels, ≥ 1
    width: int = 8  # children of a node, ≥ 1
    fade: float = 0.99  # weight of what was learnt before, at each new outcome, (0, 1]

    name: ClassVar[str] = "sparse"

    def __post_init__(self) -> None:
        if min(self.most, self.depth, self.width) < 1:
            raise InvalidRequest(f"sparse({self.most}, depth={self.depth}, width={self.width})", hint="each at least 1")
        if not 0 < self.fade <= 1:
            raise InvalidRequest(f"sparse(fade={self.fade})", hint="0 < fade <= 1")

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        known = context.remembered(Known, (self, drafting.identity), lambda: Known(ByPlace(self.fade), Price()))
        return SparsePlanning(self, context, drafting, known)


class SparsePlanning(ShapedPlanning):
    """The choice of a tree at work."""

    def __init__(self, settings: Sparse, context: Context, drafting: Drafting, known: Known) -> None:
        super().__init__(context, drafting, known, Room(settings.most, settings.depth))
        self._settings = settings

    def choose(self) -> Shape:
        return self.best_shape(self._settings.width)
