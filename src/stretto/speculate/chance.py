"""Coins of one's own, for drafters that sample and for acceptors that reject.

`Exact` needs none: it takes the choice that the row's noise makes. A rule such as rejection sampling draws by itself,
so its output is exact in distribution, not token by token. Its coins are as reproducible as the noise: functions of
the seed, the stream, the position of the round's root and a counter.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..entry import Guarantee
from ..noise import key, split, uniform_one
from ..row import Row
from ..steer.choice import Rule
from ..tree import Tree
from .contract import Acceptor, Target, Verdict

# Probabilities [V], float64. The same arithmetic runs on exact fractions (dtype object), and the laws do so.
Vector = NDArray[Any]

DRAFTING, ACCEPTING = 1 << 40, (1 << 40) + 1  # beyond all token ids: draws no one else makes


class Chance(Protocol):
    """What a rule may ask of chance; the laws answer with every branch and its weight."""

    def accept(self, probability: Any) -> bool:
        """True with this probability; certain from 1 on."""
        ...

    def draw(self, weights: Vector) -> int:
        """An index with probability in proportion to its weight; weights [V] ≥ 0, not all 0."""
        ...


class KeyedChance:
    """The coins of one row in one round, for one purpose."""

    def __init__(self, rule: Rule, position: int, purpose: int) -> None:
        self._key = split(key(rule.seed, rule.stream, position), purpose)
        self._tossed = 0

    def uniform(self) -> float:
        """The next draw, strictly inside (0, 1)."""
        self._tossed += 1
        return uniform_one(self._key, self._tossed)

    def accept(self, probability: Any) -> bool:
        return bool(self.uniform() < probability)

    def draw(self, weights: Vector) -> int:
        sums = np.cumsum(weights)
        return int(np.searchsorted(sums, self.uniform() * sums[-1], side="right"))


def chance_of(row: Row, purpose: int) -> KeyedChance:
    """The coins of a row's coming round."""
    return KeyedChance(row.rule, len(row.history.tokens), purpose)


class SamplingAcceptor(Acceptor):
    """An acceptor with an accept-or-reject rule of its own, judged by probabilities.

    `walk` is a pure function of the tree, the target's probabilities and the coins; it uses no arithmetic but that of
    numpy, so that the laws can enumerate it with exact fractions.
    """

    guarantee = Guarantee.DISTRIBUTION

    def accept(self, target: Target) -> list[Verdict]:
        return [
            self.walk(tree, lambda node, at=at: target.probabilities(at, node), chance_of(row, ACCEPTING))  # type: ignore[misc]
            for at, (row, tree) in enumerate(zip(target.rows, target.trees, strict=True))
        ]

    @abstractmethod
    def walk(self, tree: Tree, target: Callable[[int], Vector], chance: Chance) -> Verdict:
        """Judge one tree; `target(node)` are the probabilities [V] of what follows a node, `ROOT` included.

        A sampled node was drawn from `tree.drawn_from[node]`; a point node came without chance.
        """
