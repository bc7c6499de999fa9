"""OPT-Tree: the draft tree of greatest expected length, grown while a level still adds enough to it."""

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
from ..economy.pruning import best_sum, keep_best, reaches

ENTRY = Entry(
    name="opt-tree",
    family="speculate",
    source="arXiv 2406.17276; github.com/Jikai0Wang/OPT-Tree",
    parts="draft-tree(width=50)+opt-tree(50)",
    guarantee=Guarantee.EXACT,
    number=95,
    needs=("draft model", "tree windows"),
    summary="the tree with the greatest expected accepted length under the draft's own path probabilities",
)


@dataclass(frozen=True, slots=True)
class OptTree(Planner):
    """Keep the `nodes` nodes of greatest path probability; grow while a level raises their sum by more than `delta`.

    E, the sum, is the expected number of accepted tokens if draft and target agree; `exponent` tempers the path
    probabilities of a draft that is too sure of itself (or not sure enough). A `delta` between the cost of a draft
    level, in target forwards, and 1 is reasonable. Trees of drawn nodes only stop by this rule: which of them are
    verified must not depend on what they turned out to be.
    """

    nodes: int = 50  # ≥ 1
    delta: float = 0.5  # accepted tokens, ≥ 0
    depth: int = 10  # levels, ≥ 1
    exponent: float = 1.0  # > 0; 1: the published rule

    name: ClassVar[str] = "opt-tree"

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.depth < 1:
            raise InvalidRequest(f"opt-tree({self.nodes}, depth={self.depth})", hint="nodes >= 1 and depth >= 1")
        if self.delta < 0 or self.exponent <= 0:
            raise InvalidRequest(
                f"opt-tree(delta={self.delta}, exponent={self.exponent})", hint="delta >= 0 and exponent > 0"
            )

    @property
    def repeats(self) -> bool:
        return True

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        return OptTreePlanning(self)


class OptTreePlanning(Planning):
    """Has learnt all it will."""

    def __init__(self, settings: OptTree) -> None:
        self._settings = settings

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        settings = self._settings
        return [Room(settings.nodes, settings.depth, more=ExpectedLength(settings)) for _ in rows]

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        return [keep_best(tree, reaches(tree), self._settings.nodes) for tree in trees]

    def estimate(self, row: Row, tree: Tree) -> list[float]:
        return reaches(tree)


class ExpectedLength:
    """Watches one tree grow: does its expected length still rise?

    It remembers the sum of each level, because a drafter may have dropped nodes since that counted then.
    """

    def __init__(self, settings: OptTree) -> None:
        self._settings = settings
        self._sums = [0.0]  # E of the tree down to each depth; 0: the root alone

    def __call__(self, tree: Tree) -> bool:
        """Whether another level is worth drafting, now that one was added."""
        depth = max(tree.depths, default=0)
        values, exponent = reaches(tree), self._settings.exponent
        if exponent != 1.0:
            values = [value**exponent for value in values]
        expected = best_sum(values, self._settings.nodes)
        del self._sums[max(1, depth) :]  # asked anew about the same round
        gained = expected - self._sums[-1]
        self._sums.append(expected)
        return gained > self._settings.delta
