"""Speculative sampling: accept a drafted token with min(1, p/q), else draw from what p has more of than q."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ...tree import ROOT, Tree
from ..chance import Chance, SamplingAcceptor, Vector, chain_of, drawn_from, rejected
from ..contract import Verdict


@dataclass(frozen=True, slots=True)
class Rejection(SamplingAcceptor):
    """Judge a chain token by token, arXiv 2211.17192 and 2302.01318.

    A point guess x is drawn from certainty: accepted with p(x), else the next token is drawn from p without x.
    """

    name: ClassVar[str] = "rejection"

    def walk(self, tree: Tree, target: Callable[[int], Vector], chance: Chance) -> Verdict:
        path: list[int] = []
        for node in chain_of(tree):
            p = target(path[-1] if path else ROOT)
            coins = chance.at(len(path) + 1)
            left = rejected(p, drawn_from(tree, node), tree.tokens[node], coins)
            if left is not None:
                return Verdict(path, coins.draw(left))
            path.append(node)
        return Verdict(path, chance.at(len(path) + 1).draw(target(path[-1] if path else ROOT)))
