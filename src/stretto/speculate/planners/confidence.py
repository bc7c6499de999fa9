"""Draft on while the draft model is sure of its last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...row import Row
from ...tree import Tree
from ..contract import Drafting, Planner, Planning, Room
from ..economy.pruning import cut_below

ENTRY = Entry(
    name="confidence-stop",
    family="speculate",
    source="arXiv 2404.18911 (Kangaroo: the draft stops below a confidence)",
    parts="draft+confidence",
    guarantee=Guarantee.EXACT,
    needs=("draft model",),
    summary="drafts on while the draft model's probability of its last token stays above a threshold",
)


@dataclass(frozen=True, slots=True)
class Confidence(Planner):
    """Go on while the newest token's score is at least `threshold`; the token that falls below it is verified too.

    In a tree the surest token of the deepest level counts. A drafter that does not ask on the way is cut afterwards,
    below the first unsure token of each path.
    """

    threshold: float = 0.4  # of the score, [0, 1]; 0: always `most` deep
    most: int = 16  # nodes, and levels, ≥ 1

    name: ClassVar[str] = "confidence"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or self.most < 1:
            raise InvalidRequest(
                f"confidence({self.threshold}, most={self.most})", hint="0 <= threshold <= 1 and most >= 1"
            )

    @property
    def repeats(self) -> bool:
        return True

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        return ConfidencePlanning(self)


class ConfidencePlanning(Planning):
    """Has learnt all it will."""

    def __init__(self, settings: Confidence) -> None:
        self._threshold = settings.threshold
        self._room = Room(settings.most, settings.most, more=self._sure)

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        return [self._room] * len(rows)

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        return [cut_below(tree, lambda node, tree=tree: tree.scores[node] < self._threshold) for tree in trees]  # type: ignore[misc]

    def _sure(self, tree: Tree) -> bool:
        deepest = max(tree.depths, default=0)
        return not deepest or any(
            score >= self._threshold for score, depth in zip(tree.scores, tree.depths, strict=True) if depth == deepest
        )
