"""Tokens chosen by a tree search that asks a value head what they come to: what a policy's own value model is for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .scorer import Scorer
from .scorers.likelihood import LIKELIHOOD
from .tree import Edge, Node
from .tree_search import TreeSearch
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="ppo-mcts",
    family="search",
    source="arXiv 2309.15028; code github.com/liujch1998/ppo-mcts",
    parts="ppo-mcts",
    guarantee=Guarantee.APPROXIMATE,
    number=145,
    summary="before each token, simulations by prior and value among the likeliest; the one gone most often is taken",
)


@dataclass(frozen=True, slots=True)
class PpoMcts(TreeSearch):
    """Of the `width` likeliest tokens the one that most of `simulations` went through becomes final, then the next.

    A simulation goes where Q + c · P · √N / (1 + n) is largest, to a token that was not tried; Q is the mean of the
    values found there, and before any was found that of the place itself. The scorer judges beginnings, and whole
    answers where they end. One simulation is plain greedy decoding. As published the tree is grown anew for each token.
    """

    width: int = 10  # ≥ 1, tokens that are considered
    simulations: int = 10  # ≥ 1, before each token
    c: float = 8.0  # ≥ 0, how much the model's own odds count beside the scorer's values
    scorer: Scorer = LIKELIHOOD
    within: Within = UNBOUNDED

    name: ClassVar[str] = "ppo-mcts"
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.width < 1 or self.simulations < 1 or self.c < 0:
            raise InvalidRequest(
                f"{self.simulations} simulations over {self.width} tokens, c {self.c}", hint="at least 1; c from 0"
            )

    def worth(self, node: Node, edge: Edge) -> float:
        known = node.value if edge.child is None else edge.child.mean
        return known + self.c * edge.prior * math.sqrt(node.visits) / (1 + edge.visits)
