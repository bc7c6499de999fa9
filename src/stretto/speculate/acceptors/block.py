"""Block verification: judge the joint ratio of a whole chain, so that strong tokens make up for a weak one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ...entry import Entry, Guarantee
from ...tree import ROOT, Tree
from ..chance import Chance, SamplingAcceptor, Vector, chain_of, drawn_from, excess, likelihood, normalised
from ..contract import Verdict

ENTRY = Entry(
    name="block-verification",
    family="speculate",
    source="arXiv 2403.10444",
    parts="sampled+block",
    guarantee=Guarantee.DISTRIBUTION,
    needs=("draft model",),
    summary="accepts a chain as a block: never shorter in expectation than token by token",
)


@dataclass(frozen=True, slots=True)
class Block(SamplingAcceptor):
    """Keep the longest beginning of the chain that its coin accepts.

    With w_0 = 1 and w_i = min(1, w_{i-1} p/q), the first i tokens are kept with S / (S + 1 - w_i), where S is the sum
    of max(w_i p - q, 0) after them; the whole chain with its w. The next token is drawn from that excess.
    """

    name: ClassVar[str] = "block"

    def walk(self, tree: Tree, target: Callable[[int], Vector], chance: Chance) -> Verdict:
        chain = chain_of(tree)
        after = [target(ROOT)]  # p after the first i tokens
        weights: list[Any] = [1]  # w_i
        for node in chain:
            q, token = drawn_from(tree, node), tree.tokens[node]
            weights.append(min(1, weights[-1] * after[-1][token] / likelihood(q, token)))
            if weights[-1] == 0:  # and so are all that follow: none of them can be kept
                break
            after.append(target(node))
        else:
            if not chain or _coins(chance, len(chain)).accept(weights[-1]):
                return Verdict(chain, _coins(chance, len(chain) + 1).draw(after[-1]))
        for kept in range(len(weights) - 2, -1, -1):
            q, token = drawn_from(tree, chain[kept]), tree.tokens[chain[kept]]
            left = excess(weights[kept] * after[kept], q, token)
            total = left.sum()
            # 0/0 where w = 1 and p = q: then the next token is surely kept, but for rounding
            if kept == 0 or (total > 0 and _coins(chance, kept).accept(total / (total + 1 - weights[kept]))):
                return Verdict(chain[:kept], _coins(chance, kept + 1).draw(normalised(left, after[kept])))
        raise AssertionError("the root is always kept")


def _coins(chance: Chance, depth: int) -> Chance:
    """Of the chain down to `depth`: a chain that is kept shorter is looked at anew in a later round."""
    return chance.at(depth, depth)
