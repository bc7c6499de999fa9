"""What planners share: the worth of drafted nodes, how often such nodes were accepted, and how to leave some out.

Acceptors that judge a drawn token by its distribution stay exact only while no drawn node is left out for what it
turned out to be. What lies below a node may depend on the node; so a tree that holds drawn nodes is cut below nodes,
never at them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, nlargest
from typing import Protocol, runtime_checkable

from ..tree import ROOT, Proposal, Tree
from .contract import Outcome

PLANNING = (1 << 40) + 64  # a purpose of coins: draws that neither drafters nor acceptors make
BELIEF = 2.0  # observations that a first belief weighs
BINS = 10  # classes of score that a calibrated estimator tells apart

# -- worth ------------------------------------------------------------------------------------


def reaches(tree: Tree) -> list[float]:
    """The drafter's own estimate that each node is accepted: the product of the scores on its path; of riders 0."""
    values: list[float] = []
    for parent, score, proposal in zip(tree.parents, tree.scores, tree.proposals, strict=True):
        if proposal is Proposal.RIDER:
            values.append(0.0)
        else:
            values.append(score if parent == ROOT else score * values[parent])
    return values


def best_sum(values: Sequence[float], nodes: int) -> float:
    """What the `nodes` best are worth together: their expected accepted tokens."""
    return sum(values) if len(values) <= nodes else sum(nlargest(nodes, values))


# -- leaving nodes out ------------------------------------------------------------------------


def holds_draws(tree: Tree) -> bool:
    """Whether a node was drawn, so that none may be left out for its own token."""
    return Proposal.SAMPLED in tree.proposals


def keep_best(tree: Tree, values: Sequence[float], nodes: int) -> Tree:
    """The `nodes` most valuable candidates and the riders under them; values never rise along a path.

    A tree that holds drawn nodes passes as it is.
    """
    if len(tree) <= nodes or holds_draws(tree):
        return tree
    riders = [node for node, proposal in enumerate(tree.proposals) if proposal is Proposal.RIDER]
    candidates = set(range(len(tree))).difference(riders)
    if len(candidates) <= nodes:
        return tree
    kept = sorted(candidates, key=lambda node: (-values[node], node))[:nodes]
    return tree.prune([*kept, *riders])


def keep_paying(trees: list[Tree], values: Sequence[Sequence[float]], cost: Callable[[int], float]) -> list[Tree]:
    """The best nodes of each tree, as many as give the batch the most expected tokens per second.

    `cost(nodes)` is what a round takes whose largest tree has so many: rows are padded to it.
    """
    orders = [sorted(each, reverse=True) for each in values]
    longest = max(map(len, orders), default=0)
    best, best_yield, expected = 0, len(trees) / cost(0), float(len(trees))
    for size in range(1, longest + 1):
        expected += sum(order[size - 1] for order in orders if size <= len(order))
        gain = expected / cost(size)
        if gain > best_yield:
            best, best_yield = size, gain
    if best == longest:
        return trees
    return [keep_best(tree, each, best) for tree, each in zip(trees, values, strict=True)]


def cut_below(tree: Tree, stop: Callable[[int], bool]) -> Tree:
    """The tree without what lies below nodes at which drafting should have stopped; those themselves stay.

    Riders under a node that stays stay with it.
    """
    open_nodes: set[int] = {ROOT}  # kept, and going on
    kept: set[int] = {ROOT}
    for node, parent in enumerate(tree.parents):
        if parent in open_nodes or (parent in kept and tree.proposals[node] is Proposal.RIDER):
            kept.add(node)
            if not stop(node):
                open_nodes.add(node)
    return tree if len(kept) == 1 + len(tree) else tree.prune(sorted(kept - {ROOT}))


# -- what was accepted ------------------------------------------------------------------------


def trials(tree: Tree, committed: Sequence[int]) -> Iterator[tuple[list[int], int | None]]:
    """Along the committed tokens, the candidates that stood there and the one that was right, if one was.

    Nothing is said of what stood behind the first miss: nobody knows.
    """
    below: dict[int, list[int]] = {}
    for node, parent in enumerate(tree.parents):
        if tree.proposals[node] is not Proposal.RIDER:
            below.setdefault(parent, []).append(node)
    parent = ROOT
    for token in committed:
        children = below.get(parent)
        if not children:
            return
        right = next((child for child in children if tree.tokens[child] == token), None)
        yield children, right
        if right is None:
            return
        parent = right


@dataclass(slots=True)
class Rate:
    """A fading acceptance rate: a moving average that weighs each observation `fade` times the next."""

    accepted: float
    tried: float

    @property
    def value(self) -> float:
        """Accepted per tried."""
        return self.accepted / self.tried

    def add(self, accepted: bool, fade: float) -> None:
        """Count one more observation."""
        self.accepted = fade * self.accepted + accepted
        self.tried = fade * self.tried + 1.0


def believed(rank: int) -> float:
    """Acceptance of the child of that rank before any was seen: .6, .2, .1, .05 …"""
    return 0.6 if rank == 0 else 0.4 * 0.5**rank


@dataclass(slots=True)
class Seen:
    """Observations of one place, as they weighed when it was last seen."""

    accepted: float = 0.0
    tried: float = 0.0
    when: int = 0  # the outcome that was learnt then, counted from 1


@dataclass(slots=True)
class RankRates:
    """How often the child of a rank was the accepted one, whenever its parent was accepted; per depth or for all alike.

    Observations fade with every outcome, whether their place was seen again or not: what has not been tried for long is
    believed to be as at first, or as one level higher, and so is tried again.
    """

    by_depth: bool
    fade: float  # weight of what was learnt before, at each new outcome, (0, 1]
    given: tuple[float, ...] = ()  # rates of all ranks, known beforehand: nothing is learnt
    seen: dict[tuple[int, int], Seen] = field(default_factory=dict)  # (depth from 1, rank from 0)
    _now: int = 0
    _rates: dict[tuple[int, int], float] = field(default_factory=dict)  # as of now

    def rate(self, depth: int, rank: int) -> float:
        """Probability that the child of this rank is the accepted one."""
        if self.given:
            return self.given[rank] if rank < len(self.given) else 0.0
        place = (depth if self.by_depth else 1, rank)
        known = self._rates.get(place)
        if known is None:
            known = self._rates[place] = self._weigh(*place)
        return known

    def _weigh(self, depth: int, rank: int) -> float:
        belief = self.rate(depth - 1, rank) if depth > 1 else believed(rank)
        seen = self.seen.get((depth, rank))
        if seen is None:
            return belief
        weight = self.fade ** (self._now - seen.when)
        return (weight * seen.accepted + BELIEF * belief) / (weight * seen.tried + BELIEF)

    def _add(self, depth: int, rank: int, accepted: bool) -> None:
        seen = self.seen.setdefault((depth if self.by_depth else 1, rank), Seen())
        weight = self.fade ** (self._now - seen.when)
        seen.accepted, seen.tried, seen.when = weight * seen.accepted + accepted, weight * seen.tried + 1.0, self._now

    def values(self, tree: Tree) -> list[float]:
        """Probability that each node is accepted, by where it stands. It never rises along a path; riders have 0."""
        values: list[float] = []
        ranks: dict[int, int] = {}  # parent -> candidates under it so far
        for parent, depth, proposal in zip(tree.parents, tree.depths, tree.proposals, strict=True):
            if proposal is Proposal.RIDER:
                values.append(0.0)
                continue
            rank = ranks.get(parent, 0)
            ranks[parent] = rank + 1
            values.append(self.rate(depth, rank) * (1.0 if parent == ROOT else values[parent]))
        return values

    def learn(self, tree: Tree, committed: Sequence[int], asked: dict[int, list[int]] | None = None) -> None:
        """Judge the candidates along the committed tokens.

        `asked` are the children of each node of the shape that was asked for. One that was not delivered beside its
        siblings earned nothing, and is counted so: else a drafter of chains would be asked for broad trees for ever.
        """
        if self.given:
            return
        self._now += 1
        self._rates.clear()
        place: int | None = ROOT if asked else None
        for depth, (children, right) in enumerate(trials(tree, committed), start=1):
            wished = asked.get(place, []) if asked and place is not None else []
            for rank in range(max(len(children), len(wished))):
                self._add(depth, rank, rank < len(children) and children[rank] == right)
            if right is not None:
                rank = children.index(right)
                place = wished[rank] if rank < len(wished) else None


# -- acceptance of one node before it is judged -----------------------------------------------


@runtime_checkable
class Estimator(Protocol):
    """Tells how likely a drafted token is to be accepted, from the draft alone."""

    def rate(self, tree: Tree, node: int) -> float:
        """Probability in [0, 1] that the node is accepted when its parent is."""
        ...

    def learn(self, proposed: Tree, outcome: Outcome) -> None:
        """Take in what became of a draft."""
        ...


class Scores:
    """The drafter's own score: the draft model's probability, or what a trained acceptance head put there."""

    def rate(self, tree: Tree, node: int) -> float:
        return tree.scores[node]

    def learn(self, proposed: Tree, outcome: Outcome) -> None:
        """Has learnt all it will."""


class Calibrated:
    """How often tokens of about this score were accepted; before any was seen, the score itself."""

    def __init__(self, fade: float = 0.99) -> None:
        """`fade` is the weight of the past at each new observation of a class of scores, (0, 1]."""
        self._fade = fade
        self._rates = [Rate((place + 0.5) / BINS, 1.0) for place in range(BINS)]

    def rate(self, tree: Tree, node: int) -> float:
        return self._of(tree.scores[node]).value

    def learn(self, proposed: Tree, outcome: Outcome) -> None:
        for children, right in trials(proposed, outcome.committed):
            for child in children:
                self._of(proposed.scores[child]).add(child == right, self._fade)

    def _of(self, score: float) -> Rate:
        return self._rates[min(BINS - 1, max(0, int(score * BINS)))]


ESTIMATORS: dict[str, Callable[[], Estimator]] = {"scores": Scores, "calibrated": Calibrated}


# -- trees of ranks ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """A tree of ranks: node i is the next child of `parents[i]`. Any beginning of it is a tree as well."""

    parents: tuple[int, ...] = ()
    values: tuple[float, ...] = ()  # probability that each node is accepted

    @property
    def depth(self) -> int:
        """Edges from the root to the deepest node."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        return max(depths, default=0)

    def children(self) -> dict[int, list[int]]:
        """Node, or ROOT -> its children in rank order."""
        below: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            below.setdefault(parent, []).append(node)
        return below

    def first(self, nodes: int) -> Shape:
        """The tree of the first nodes."""
        return Shape(self.parents[:nodes], self.values[:nodes])


def likeliest(rate: Callable[[int, int], float], nodes: int, depth: int, width: int) -> Shape:
    """The tree of the `nodes` likeliest places, likeliest first: each beginning is the best tree of its size.

    `rate(depth, rank)` is the acceptance of a child of that rank. A rank counts as no better than the one before it,
    because it cannot be drafted without that one. A node's value is the product along its path.
    """
    columns = [
        list(itertools.accumulate((rate(level, rank) for rank in range(width)), min)) for level in range(1, depth + 1)
    ]
    parents: list[int] = []
    values: list[float] = []
    # A slot: (worth, order of entry, parent, depth, rank, worth of the parent). The order breaks ties and keeps
    # parents before children and ranks in order.
    order = itertools.count()
    slots = [(-columns[0][0], next(order), ROOT, 1, 0, 1.0)] if nodes and depth and width else []
    while slots and len(parents) < nodes:
        negative, _, parent, level, rank, above = heappop(slots)
        node = len(parents)
        parents.append(parent)
        values.append(-negative)
        if rank + 1 < width:
            heappush(slots, (-above * columns[level - 1][rank + 1], next(order), parent, level, rank + 1, above))
        if level < depth:
            heappush(slots, (negative * columns[level][0], next(order), node, level + 1, 0, -negative))
    return Shape(tuple(parents), tuple(values))
