"""Multi-step speculative sampling: try the candidates of one or several drafters in a random order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...tree import NodeKind, Siblings, Tree
from ..chance import Chance, TopDownAcceptor, Vector, drawn_from, one_by_one, rejected


@dataclass(frozen=True, slots=True)
class SpecInfer(TopDownAcceptor):
    """Take a random one of the candidates left, judge it by its own drafter's vector, go on with what is left of p.

    arXiv 2305.09781. A candidate is a node: a token that two drafters propose, or one of them twice, is two nodes
    and counts twice. The order must not look at the tokens; point guesses come last.
    """

    name: ClassVar[str] = "specinfer"
    siblings: ClassVar[frozenset[Siblings]] = frozenset({Siblings.NONE, Siblings.REPEATED})

    def pick(self, tree: Tree, children: Sequence[int], p: Vector, chance: Chance) -> tuple[int | None, Vector]:
        sampled = [child for child in children if tree.proposals[child] is NodeKind.SAMPLED]
        points = children[len(sampled) :]
        while sampled:
            child = sampled.pop(chance.draw(np.ones(len(sampled), dtype=int)) if len(sampled) > 1 else 0)
            left = rejected(p, drawn_from(tree, child), tree.tokens[child], chance)
            if left is None:
                return child, p
            p = left
        return one_by_one(tree, points, p, chance)
