"""Typical acceptance: take a drafted token that the model finds likely enough for how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...annotations import Unbounded
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...tree import ROOT, NodeKind
from ..chance import Vector
from ..contract import Acceptor, Target, Verdict

ENTRY = Entry(
    name="typical-acceptance",
    family="speculate",
    source="arXiv 2401.10774 (Medusa's acceptance at temperatures above 0)",
    parts="draft-tree+typical",
    guarantee=Guarantee.APPROXIMATE,
    needs=("draft model", "tree windows"),
    summary="accepts tokens above a threshold that falls with the entropy; exact at temperature 0 and at its extreme",
)

INSIDE_LOG = 1e-5  # keeps the entropy finite

Place = tuple[int, int]  # row and node


@dataclass(frozen=True, slots=True)
class Typical(Acceptor):
    """Accept x where p(x) > min(epsilon, delta exp(-H(p))), or where x is the model's own choice.

    The longest accepted path wins, the likeliest among equals; the extra token is the model's choice. With
    epsilon = 1 and delta = inf choices alone are accepted, which is `exact`; so is every setting at temperature 0.
    """

    epsilon: float = 0.09  # 0 … 1, a probability
    delta: Unbounded = 0.3  # ≥ 0; about the root of epsilon

    name: ClassVar[str] = "typical"
    accepts: ClassVar[frozenset[NodeKind]] = frozenset(NodeKind)
    guarantee: ClassVar[Guarantee] = Guarantee.APPROXIMATE

    def __post_init__(self) -> None:
        if not (0 <= self.epsilon <= 1 and self.delta >= 0):
            raise InvalidRequest(
                f"typical({self.epsilon}, {self.delta})", hint="0 <= epsilon <= 1 and delta >= 0; (1, inf) is exact"
            )

    def accept(self, target: Target) -> list[Verdict]:
        choices: dict[Place, int] = {}
        reached = {(row, ROOT): 0.0 for row in range(len(target.trees))}  # with the log-likelihood of the path
        level = list(reached)
        while level:  # all paths of all rows descend together, one depth at a time
            choices.update(zip(level, target.choose(level), strict=True))
            level = [place for above in level for place in self._accepted(target, above, choices[above], reached)]
        last = dict.fromkeys(range(len(target.trees)), (0, 0.0, ROOT))
        for (row, node), likelihood in reached.items():
            depth = target.trees[row].depths[node] if node != ROOT else 0
            if (depth, likelihood) > last[row][:2]:
                last[row] = depth, likelihood, node
        return [
            Verdict(tree.path(node), choices[row, node])
            for (row, (_, _, node)), tree in zip(last.items(), target.trees, strict=True)
        ]

    def _accepted(self, target: Target, above: Place, choice: int, reached: dict[Place, float]) -> list[Place]:
        """The accepted children of a node, entered into `reached`."""
        row, parent = above
        tree = target.trees[row]
        children = [child for child in tree.children(parent) if tree.proposals[child] is not NodeKind.RIDER]
        if not children:
            return []
        p = target.probabilities(row, parent)
        threshold = self.threshold(p)
        able = [child for child in children if p[tree.tokens[child]] > threshold or tree.tokens[child] == choice]
        for child in able:
            reached[row, child] = reached[above] + math.log(p[tree.tokens[child]])
        return [(row, child) for child in able]

    def threshold(self, p: Vector) -> float:
        """What a token's probability must exceed, given the distribution p [V]."""
        entropy = -float((p * np.log(p + INSIDE_LOG)).sum())
        return min(self.epsilon, self.delta * math.exp(-entropy))
