"""Lossy speculative sampling: accept more than the model would, by a factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...tree import ROOT, Tree
from ..chance import Chance, SamplingAcceptor, Vector, chain_of, drawn_from, excess, likelihood, normalised
from ..contract import Verdict

ENTRY = Entry(
    name="lossy-speculative-sampling",
    family="speculate",
    source="arXiv 2405.19261 (a baseline of speculative cascades)",
    parts="sampled+lossy",
    guarantee=Guarantee.APPROXIMATE,
    needs=("draft model",),
    summary="speculative sampling that accepts up to a factor more; alpha = 0 is exact",
)


@dataclass(frozen=True, slots=True)
class Lossy(SamplingAcceptor):
    """Accept with min(1, p / ((1 - alpha) q)); after a rejection draw from max(p - q, 0), whatever alpha.

    At temperature 0 it is exact with any alpha: p is all or nothing.
    """

    alpha: float = 0.1  # 0 (exact) ≤ alpha < 1

    name: ClassVar[str] = "lossy"
    guarantee: ClassVar[Guarantee] = Guarantee.APPROXIMATE

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise InvalidRequest(f"lossy({self.alpha})", hint="0 <= alpha < 1; 0 is exact")

    def walk(self, tree: Tree, target: Callable[[int], Vector], chance: Chance) -> Verdict:
        path: list[int] = []
        for node in chain_of(tree):
            p = target(path[-1] if path else ROOT)
            q, token, coins = drawn_from(tree, node), tree.tokens[node], chance.at(len(path) + 1)
            if not coins.accept(p[token] / ((1 - self.alpha) * likelihood(q, token))):
                return Verdict(path, coins.draw(normalised(excess(p, q, token), p)))
            path.append(node)
        return Verdict(path, chance.at(len(path) + 1).draw(target(path[-1] if path else ROOT)))
