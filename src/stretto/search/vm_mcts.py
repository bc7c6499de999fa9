"""Lines searched by a value model: each is judged by the answers that it led to, and the best answer is handed out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..annotations import Unbounded
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .scorer import Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmenter import Segmenter
from .segmenters import AtPattern
from .tree import Edge, Node
from .tree_search import TreeSearch
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="rest-rl-vm-mcts",
    family="search",
    source="arXiv 2508.19576; code github.com/THUDM/ReST-RL",
    parts="vm-mcts",
    guarantee=Guarantee.APPROXIMATE,
    number=256,
    summary="a tree of drawn lines, each judged by whole answers that begin so; the best answer that was met",
)

LINE = AtPattern()
NEARLY = 0.1  # visits: what keeps a way that was never gone from being infinitely good


@dataclass(frozen=True, slots=True)
class VmMcts(TreeSearch):
    """From a place `width` answers are drawn: the first segment of each is a way on, and its score speaks for it.

    Ways that read alike are one. A simulation goes where V + c · √((1 + ln N) / (0.1 + n)) is largest among the `keep`
    ways of the highest mean, to a place from which nothing was drawn. The scorer judges whole answers. One simulation
    is best of `width`.
    """

    width: int = 5  # ≥ 1, answers drawn from a place
    keep: int = 3  # ≥ 1, ways on that stay open
    simulations: int = 8  # ≥ 1
    c: float = 0.2  # ≥ 0, how much ways count that were seldom gone
    scorer: Scorer = LIKELIHOOD
    segmenter: Segmenter = LINE
    enough: Unbounded = math.inf  # an answer that is worth so much ends the search
    within: Within = UNBOUNDED

    name: ClassVar[str] = "vm-mcts"
    rollouts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.width, self.keep, self.simulations) < 1 or self.c < 0:
            raise InvalidRequest(
                f"{self.simulations} simulations of {self.width} answers, {self.keep} kept, c {self.c}",
                hint="at least 1; c from 0",
            )

    def worth(self, node: Node, edge: Edge) -> float:
        mean = edge.child.mean if edge.child is not None and edge.visits else 0.0
        return mean + self.c * math.sqrt((1 + math.log(node.visits)) / (NEARLY + edge.visits))

    def ways(self, node: Node) -> Sequence[Edge]:
        edges = node.edges or ()
        means = {edge: edge.child.mean for edge in edges if edge.child is not None}
        return sorted(edges, key=lambda edge: -means[edge])[: self.keep]
