"""Each token by what a greedy answer through it is worth: the value of a policy that is at hand, carried over."""

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
    name="transfer-q-star",
    family="search",
    source="arXiv 2405.20495; code github.com/umd-huang-lab/Transfer-Q (direct transfer)",
    parts="transfer-q",
    guarantee=Guarantee.APPROXIMATE,
    number=193,
    summary="the likeliest tokens are each followed greedily, and the one of the best logit plus reward is taken",
)


@dataclass(frozen=True, slots=True)
class TransferQ(TreeSearch):
    """Of the `width` likeliest tokens the one whose logit + `weight` · Q is largest becomes final, then the next.

    Q is what the scorer says of the text that the token begins and greedy decoding continues, `far` tokens of it (0: to
    the end of the answer). The model itself is the policy that is followed: one that is aligned already, as published
    for direct transfer. Weight 0 is plain greedy decoding.
    """

    width: int = 5  # ≥ 1, tokens that are considered
    weight: float = 1.5  # ≥ 0, nats per unit of the scorer
    far: int = 20  # ≥ 0, tokens that are followed; 0: to the end of the answer
    scorer: Scorer = LIKELIHOOD
    within: Within = UNBOUNDED

    name: ClassVar[str] = "transfer-q"
    rollouts: ClassVar[bool] = True
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.width < 1 or self.weight < 0 or self.far < 0:
            raise InvalidRequest(
                f"{self.width} tokens followed for {self.far}, weight {self.weight}", hint="at least 1; from 0"
            )

    @property
    def simulations(self) -> int:  # type: ignore[override]  # each token once
        return self.width

    def worth(self, node: Node, edge: Edge) -> float:
        return edge.prior - edge.visits

    def final(self, edge: Edge) -> float:
        return -math.inf if edge.child is None else math.log(edge.prior) + self.weight * edge.child.value
