"""Speculative cascades: verify against a mixture of the small and the large model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...tree import ROOT, NodeKind, Tree
from ..chance import ACCEPTING, Chance, SamplingAcceptor, Vector, chain_of, chance_of, rejected
from ..contract import Target, Verdict

ENTRY = Entry(
    name="speculative-cascades",
    family="speculate",
    source="arXiv 2405.19261 (faster cascades via speculative decoding)",
    parts="sampled+cascade",
    guarantee=Guarantee.APPROXIMATE,
    number=90,
    needs=("draft model",),
    summary="exact for a mixture of two models: the small one where a rule finds it good enough, else the large one",
)

RULES = ("chow", "diff", "opt", "v1", "v2", "v3")
TIE = 1e-9  # two confidences nearer than this are equal


@dataclass(frozen=True, slots=True)
class Cascade(SamplingAcceptor):
    """Speculative sampling whose target is pi = q where the small model is trusted, p elsewhere.

    `chow` trusts a position where max q ≥ 1 - alpha, `diff` where max q ≥ max p - alpha, `opt` where
    max q ≥ max p - alpha TV(p, q). The token-specific rules trust tokens instead, pi = q on them and the rest of the
    mass as p spreads it: `v1` those of q ≥ max p - alpha, `v2` of p ≥ max p - alpha, `v3` of p ≥ (1 - alpha) max p.

    Confidences are those of both models before any steer, the tokens come from the steered distributions.

    Exact for pi at every position that was drafted: q is not known after the last drafted token, so that one, if it
    is accepted, is the round's extra token. `bonus` draws one more from p instead, as published, and the output
    then depends on where rounds end. A position for which nothing was drafted is the large model's.
    """

    rule: str = "v3"  # one of RULES
    alpha: float = 0.3  # trust in the small model; below -1 there is none, and the output is the large model's
    bonus: bool = False  # after a chain accepted whole, one more token from p

    name: ClassVar[str] = "cascade"
    accepts: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.SAMPLED, NodeKind.RIDER})
    guarantee: ClassVar[Guarantee] = Guarantee.APPROXIMATE

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InvalidRequest(f"cascade has no rule {self.rule!r}", hint=f"one of {', '.join(RULES)}")
        if not -2 <= self.alpha <= 1:
            raise InvalidRequest(f"cascade with alpha {self.alpha}", hint="-2 <= alpha <= 1; -2 is exact")

    def accept(self, target: Target) -> list[Verdict]:
        target.look_ahead()
        verdicts = []
        for at, (row, tree) in enumerate(zip(target.rows, target.trees, strict=True)):
            steered, chance = partial(target.probabilities, at), chance_of(row, ACCEPTING)
            if row.rule.pipeline.steps:
                if any(node not in tree.beliefs for node in tree.drawn_from):
                    raise Unsupported(
                        "a cascade compares what both models believe, and this drafter tells what it drew from only",
                        hint="sample at temperature 1 without further steers, or use a drafter that tells",
                    )
                verdicts.append(self._walk(tree, steered, partial(believed, target, at), tree.beliefs, chance))
            else:  # nothing is steered: what is drawn from is what is believed
                verdicts.append(self.walk(tree, steered, chance))
        return verdicts

    def walk(self, tree: Tree, target: Callable[[int], Vector], chance: Chance) -> Verdict:
        return self._walk(tree, target, target, tree.drawn_from, chance)

    def _walk(
        self,
        tree: Tree,
        target: Callable[[int], Vector],
        confidence: Callable[[int], Vector],
        beliefs: Mapping[int, Vector],
        chance: Chance,
    ) -> Verdict:
        path: list[int] = []
        for node in chain_of(tree):
            above = path[-1] if path else ROOT
            if node not in tree.drawn_from:
                raise Unsupported("a cascade cannot judge guesses without probabilities", hint="use 'sampled'")
            q = tree.drawn_from[node]
            pi = self.mixture(target(above), q, confidence(above), beliefs[node])
            coins = chance.at(len(path) + 1)
            left = rejected(pi, q, tree.tokens[node], coins)
            if left is not None:
                return Verdict(path, coins.draw(left))
            path.append(node)
        if path and not self.bonus:
            return Verdict(path[:-1], tree.tokens[path[-1]])
        return Verdict(path, chance.at(len(path) + 1).draw(target(path[-1] if path else ROOT)))

    def mixture(self, p: Vector, q: Vector, large: Vector, small: Vector) -> Vector:
        """pi [V] from the distributions p and q to draw from and the confidences of the large and the small model."""
        best, alpha = large.max(), self.alpha
        if self.rule in ("chow", "diff", "opt"):
            bounds = {
                "chow": 1 - alpha,
                "diff": best - alpha,
                "opt": best - alpha * np.maximum(small - large, 0).sum(),
            }
            return q if small.max() >= bounds[self.rule] - TIE else p
        trusted = {
            "v1": lambda: small >= best - alpha - TIE,
            "v2": lambda: large >= best - alpha - TIE,
            "v3": lambda: large >= (1 - alpha) * best - TIE,
        }[self.rule]()
        kept = np.where(trusted, q, 0)
        return np.asarray(kept + max(1 - kept.sum(), 0) * p)


def believed(target: Target, row: int, node: int) -> Vector:
    """The large model's own probabilities [V] after a node, before any steer."""
    return np.asarray(target.raw(row, node).cpu().double().softmax(-1).numpy())
