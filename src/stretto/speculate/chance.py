"""Coins of one's own, for drafters that sample and for acceptors that reject.

`Exact` needs none: it takes the choice that the row's noise makes. A rule such as rejection sampling draws by itself,
so its output is exact in distribution, not token by token. Its coins are as reproducible as the noise: functions of
the seed, the stream, the position of the token that they decide on, and what is decided: which candidate, at which
attempt. No coin is tossed twice in the life of a row, and none knows the batch, the clock or how rounds were cut.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np

from ..entry import Guarantee
from ..errors import Unsupported
from ..noise import key, split, uniform_one
from ..row import Row
from ..steer.choice import Rule
from ..tree import ROOT, NodeKind, Siblings, Tree
from .contract import Acceptor, Target, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Probabilities [V], float64. The same arithmetic runs on exact fractions (dtype object), and the laws do so.
Vector: TypeAlias = "NDArray[Any]"

DRAFTING, ACCEPTING = 1 << 40, (1 << 40) + 1  # beyond all token ids: draws no one else makes


class Chance(Protocol):
    """What a rule may ask of chance; the laws answer with every branch and its weight."""

    def accept(self, probability: Any) -> bool:
        """True with this probability; certain from 1 on."""
        ...

    def draw(self, weights: Vector) -> int:
        """An index with probability in proportion to its weight; weights [V] ≥ 0, not all 0."""
        ...

    def at(self, depth: int, *labels: int) -> Chance:
        """The coins of the token `depth` ≥ 1 behind the round's root, told apart by `labels` ≥ 0.

        Who may look at a position in one round and again in a later one labels its coins with the depth: a position
        is at each depth once. Who looks only at what this round decides needs no label, and its coins do not know
        where the round began.
        """
        ...


# Uniform draws, verdicts and draws of tokens are counted apart: what is drawn after rejections does not depend on how
# many candidates there were.
_UNIFORM, _VERDICT, _TOKEN = range(3)


class KeyedChance:
    """The coins of one row at one position, for one purpose."""

    def __init__(self, rule: Rule, position: int, purpose: int, *labels: int) -> None:
        self._rule, self._position, self._purpose, self._labels = rule, position, purpose, labels
        self._keys: list[int] = []  # of each kind of toss; none before the first, as most places are only passed
        self._tossed = [0, 0, 0]

    def at(self, depth: int, *labels: int) -> KeyedChance:
        """The coins of the token `depth` behind the root of the round whose first token these are for."""
        return KeyedChance(self._rule, self._position + depth - 1, self._purpose, *labels)

    def uniform(self) -> float:
        """The next draw, strictly inside (0, 1)."""
        return self._toss(_UNIFORM)

    def accept(self, probability: Any) -> bool:
        return bool(self._toss(_VERDICT) < probability)

    def draw(self, weights: Vector) -> int:
        sums = np.cumsum(weights)
        assert sums[-1] > 0, "there is nothing to draw"
        return int(np.searchsorted(sums, self._toss(_TOKEN) * sums[-1], side="right"))

    def _toss(self, kind: int) -> float:
        if not self._keys:
            state = split(key(self._rule.seed, self._rule.stream, self._position), self._purpose)
            for label in self._labels:
                state = split(state, label)
            self._keys = [split(state, each) for each in (_UNIFORM, _VERDICT, _TOKEN)]
        self._tossed[kind] += 1
        return uniform_one(self._keys[kind], self._tossed[kind])


def chance_of(row: Row, purpose: int) -> KeyedChance:
    """The coins of a row's coming round: `at` a depth, those of one token; else those of the round as a whole."""
    return KeyedChance(row.rule, len(row.history.tokens), purpose)


class SamplingAcceptor(Acceptor):
    """An acceptor with an accept-or-reject rule of its own, judged by probabilities.

    `walk` is a pure function of the tree, the target's probabilities and the coins; it uses no arithmetic but that of
    numpy, so that the laws can enumerate it with exact fractions.
    """

    accepts: ClassVar[frozenset[NodeKind]] = frozenset(NodeKind)
    siblings: ClassVar[frozenset[Siblings]] = frozenset({Siblings.NONE})
    guarantee: ClassVar[Guarantee] = Guarantee.DISTRIBUTION

    def accept(self, target: Target) -> list[Verdict]:
        target.look_ahead()
        return [
            self.walk(tree, partial(target.probabilities, at), chance_of(row, ACCEPTING))
            for at, (row, tree) in enumerate(zip(target.rows, target.trees, strict=True))
        ]

    @abstractmethod
    def walk(self, tree: Tree, target: Callable[[int], Vector], chance: Chance) -> Verdict:
        """Judge one tree; `target(node)` are the probabilities [V] of what follows a node, `ROOT` included.

        A sampled node was drawn from `tree.drawn_from[node]`; a point node came without chance.
        """


class TopDownAcceptor(SamplingAcceptor):
    """From the root down: one of a node's children is accepted, or the round ends with a draw from what is left.

    Where siblings repeat, those that bear the accepted token are one place: the children of all of them, drawn
    independently, are judged together at the next depth.
    """

    def walk(self, tree: Tree, target: Callable[[int], Vector], chance: Chance) -> Verdict:
        place, depth = [ROOT], 0  # nodes with the same path of tokens
        while True:
            depth += 1
            coins = chance.at(depth)  # each position is judged in one round only: the one that decides it
            children = candidates(tree, place)
            child, left = self.pick(tree, children, target(place[0]), coins)
            if child is None:
                return Verdict(tree.path(place[0]), coins.draw(left))
            place = [child]
            if Siblings.REPEATED in self.siblings:
                place += [node for node in children if node != child and tree.tokens[node] == tree.tokens[child]]

    @abstractmethod
    def pick(self, tree: Tree, children: Sequence[int], p: Vector, chance: Chance) -> tuple[int | None, Vector]:
        """The accepted one of `children`, or None, and what is left of p [V] if it is None."""


# -- groundwork of the rules --------------------------------------------------------------------


def candidates(tree: Tree, parents: Sequence[int]) -> list[int]:
    """Committable children of any of `parents`, in the order of judging: sampled ones as drawn, then point ones.

    Point ones come last because which of them stand there may depend on what was drawn (a guess that a drawn node
    bears already is not added a second time), never the other way round.
    """
    sampled: list[int] = []
    points: list[int] = []
    for node, (parent, proposal) in enumerate(zip(tree.parents, tree.proposals, strict=True)):
        if parent in parents and proposal is not NodeKind.RIDER:
            (sampled if proposal is NodeKind.SAMPLED else points).append(node)
    return sampled + points


def chain_of(tree: Tree) -> list[int]:
    """The committable nodes of a chain from the root down. Raises Unsupported where one has a sibling."""
    chain: list[int] = []
    for node, (parent, proposal) in enumerate(zip(tree.parents, tree.proposals, strict=True)):
        if proposal is NodeKind.RIDER:
            continue
        if parent != (chain[-1] if chain else ROOT):
            raise Unsupported("the draft is no chain", hint="use an acceptor that judges trees, such as 'exact'")
        chain.append(node)
    return chain


def drawn_from(tree: Tree, node: int) -> Vector | None:
    """The vector [V] that a sampled node was drawn from; None for a point, which stands for certainty."""
    if tree.proposals[node] is not NodeKind.SAMPLED:
        return None
    q = tree.drawn_from[node]
    assert q[tree.tokens[node]] > 0, f"node {node} bears a token that its own distribution excludes"
    return q


def drawn_after(tree: Tree, node: int, taken: Sequence[int]) -> Vector | None:
    """The same where siblings do not repeat: without the tokens `taken` by those drawn before.

    Once these hold all of its mass, it is uniform over the rest.
    """
    if tree.proposals[node] is not NodeKind.SAMPLED or not taken:
        return drawn_from(tree, node)
    q: Vector = tree.drawn_from[node].copy()
    q[taken] = 0
    if not q.any():
        q[:] = tree.drawn_from[node].sum()
        q[taken] = 0
    assert q[tree.tokens[node]] > 0, f"node {node} bears a token that a sibling drawn before it took"
    q /= q.sum()
    return q


def likelihood(q: Vector | None, token: int) -> Any:
    """How probable it was that the token was proposed."""
    return 1 if q is None else q[token]


def excess(weights: Vector, q: Vector | None, token: int) -> Vector:
    """What the weights [V] have more of than the proposal of `token` that q stands for."""
    if q is None:
        rest = weights.copy()
        rest[token] = 0
        return rest
    return np.asarray(np.maximum(weights - q, 0))


def normalised(weights: Vector, otherwise: Vector) -> Vector:
    """Weights [V] to the sum 1; `otherwise` where they are all 0, which rounding alone can bring about."""
    total = weights.sum()
    return np.asarray(weights / total) if total > 0 else otherwise


def rejected(p: Vector, q: Vector | None, token: int, chance: Chance) -> Vector | None:
    """Accept with probability p/q, which is None; else what is left of p [V] when `token` is rejected."""
    if chance.accept(p[token] / likelihood(q, token)):
        return None
    return normalised(excess(p, q, token), p)


def one_by_one(tree: Tree, children: Sequence[int], p: Vector, chance: Chance) -> tuple[int | None, Vector]:
    """Judge children in their order, each by the vector it was drawn from; what is left goes to the next."""
    for child in children:
        left = rejected(p, drawn_from(tree, child), tree.tokens[child], chance)
        if left is None:
            return child, p
        p = left
    return None, p
