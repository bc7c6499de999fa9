"""Tokens planned ahead: each is judged by the answer that follows it, and the best answer of all is handed out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..annotations import Unbounded
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .scorer import Scorer
from .scorers.likelihood import LIKELIHOOD
from .tree import Edge, Node
from .tree_search import TreeSearch
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="pg-td",
    family="search",
    source="ICLR 2023, Planning with Large Language Models for Code Generation; github.com/shunzh/Code-AI-Tree-Search",
    parts="pg-td",
    guarantee=Guarantee.APPROXIMATE,
    number=46,
    summary="a tree of tokens, each tried by a greedy answer that begins so; the best answer that was met",
)


@dataclass(frozen=True, slots=True)
class PgTd(TreeSearch):
    """Simulations go where Q + β · P · √(ln N) / (1 + n) is largest, β = ln((N + base + 1) / base) + c.

    Q is the best that was met through a token, 0 before any. From each new token the answer is grown greedily, and
    scored as a whole: by the share of public tests that it passes, as published. What a greedy answer went through
    before is not grown again. One simulation is plain greedy decoding.
    """

    width: int = 3  # ≥ 1, tokens that are considered
    simulations: int = 32  # ≥ 1
    c: float = 4.0  # ≥ 0, how much the model's own odds count beside what was met
    base: float = 10.0  # > 0, visits after which they count more
    scorer: Scorer = LIKELIHOOD
    enough: Unbounded = math.inf  # an answer that is worth so much ends the search
    within: Within = UNBOUNDED

    name: ClassVar[str] = "pg-td"
    rollouts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.width < 1 or self.simulations < 1 or self.c < 0 or self.base <= 0:
            raise InvalidRequest(
                f"{self.simulations} simulations over {self.width} tokens, c {self.c}, base {self.base}",
                hint="at least 1; c from 0; base above 0",
            )

    def worth(self, node: Node, edge: Edge) -> float:
        met = 0.0 if edge.child is None else edge.child.best
        beta = math.log((node.visits + self.base + 1) / self.base) + self.c
        return met + beta * edge.prior * math.sqrt(math.log(node.visits)) / (1 + edge.visits)
