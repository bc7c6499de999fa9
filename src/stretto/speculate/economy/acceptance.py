"""What share of drafted nodes is accepted: the one learner. Planners differ in which nodes they take to be alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ...tree import ROOT, NodeKind, Tree

BELIEF = 2.0  # observations that a belief weighs as much as

Kind = TypeVar("Kind")


@dataclass(slots=True)
class Rate:
    """A fading share of what was tried."""

    accepted: float
    tried: float
    when: int = 0  # the outcome in which it was last added to

    @property
    def value(self) -> float:
        """Accepted per tried."""
        return self.accepted / self.tried

    def add(self, accepted: float, fade: float, tried: float = 1.0) -> None:
        """Count one more observation; `fade` is the weight of those before."""
        self.accepted = fade * self.accepted + accepted
        self.tried = fade * self.tried + tried


def trials(tree: Tree, committed: Sequence[int]) -> Iterator[tuple[list[int], int | None]]:
    """Along the committed tokens, the candidates that stood there and the one that was right, if one was.

    Nothing is said of what stood behind the first miss: nobody knows. Whether a candidate was verified does not matter.
    """
    ridden, parent = NodeKind.RIDER in tree.proposals, ROOT
    for token in committed:
        children = tree.children(parent)
        if ridden:
            children = [child for child in children if tree.proposals[child] is not NodeKind.RIDER]
        if not children:
            return
        right = next((child for child in children if tree.tokens[child] == token), None)
        yield children, right
        if right is None:
            return
        parent = right


def along(tree: Tree, rates: Sequence[float]) -> list[float]:
    """The product of the rates on the path to each node; of riders 0."""
    found: list[float] = []
    for parent, rate in zip(tree.parents, rates, strict=True):
        found.append(rate if parent == ROOT else rate * found[parent])
    if NodeKind.RIDER in tree.proposals:
        return [0.0 if kind is NodeKind.RIDER else each for each, kind in zip(found, tree.proposals, strict=True)]
    return found


class Acceptance(ABC, Generic[Kind]):
    """How often drafted nodes of one kind were accepted when their parent was.

    Of what was tried less than `BELIEF` times, or faded to less, the rest is believed.
    """

    def __init__(self, fade: float, *, forgets: bool = False) -> None:
        """`fade`, in (0, 1], is the weight of the past at each new observation of a kind.

        With `forgets` it is that at each new outcome, whether the kind was seen in it or not: what was not tried for
        long is believed to be as at first, and so is tried again.
        """
        self.seen: dict[Kind, Rate] = {}
        self._fade, self._forgets = fade, forgets
        self._now = 0  # outcomes so far

    @abstractmethod
    def kinds(self, tree: Tree, nodes: Sequence[int]) -> list[Kind]:
        """Of these nodes; what is said of riders does not matter."""

    @abstractmethod
    def believed(self, kind: Kind) -> float:
        """The share of a kind of which nothing was seen."""

    def rate(self, kind: Kind) -> float:
        """How often nodes of this kind are accepted when their parent is."""
        seen = self.seen.get(kind)
        if seen is None:
            return self.believed(kind)
        weight = self._fade ** (self._now - seen.when) if self._forgets else 1.0
        missing = BELIEF - weight * seen.tried
        if missing <= 0.0:
            return seen.accepted / seen.tried
        return (weight * seen.accepted + missing * self.believed(kind)) / BELIEF

    def rates(self, tree: Tree) -> list[float]:
        """Probability that each node is accepted when its parent is."""
        kinds = self.kinds(tree, range(len(tree)))
        found = {kind: self.rate(kind) for kind in set(kinds)}  # deep nodes are mostly alike
        return [found[kind] for kind in kinds]

    def best(self, tree: Tree) -> float:
        """The best rate of the root's children: no node's reach is higher."""
        return max(map(self.rate, self.kinds(tree, tree.children(ROOT))), default=0.0)

    def reaches(self, tree: Tree) -> list[float]:
        """Probability that each node is accepted: it never rises along a path, and is 0 for riders."""
        return along(tree, self.rates(tree))

    def add(self, kind: Kind, accepted: bool) -> None:
        """Count one more observation; the first ones are added to what is believed."""
        seen = self.seen.get(kind)
        if seen is None:
            seen = self.seen[kind] = Rate(BELIEF * self.believed(kind), BELIEF, self._now)
        if self._forgets:
            rate, tried = self.rate(kind), max(BELIEF, self._fade ** (self._now - seen.when) * seen.tried)
            seen.accepted, seen.tried, seen.when = rate * tried + accepted, tried + 1.0, self._now
        else:
            seen.add(accepted, self._fade)

    def learn(self, tree: Tree, committed: Sequence[int]) -> None:
        """Judge the candidates along the committed tokens."""
        self._now += 1
        for children, right in trials(tree, committed):
            for child, kind in zip(children, self.kinds(tree, children), strict=True):
                self.add(kind, child == right)


# -- nodes that look alike --------------------------------------------------------------------

Look = tuple[str, int, int, int]  # source, class of score, rank, class of depth

FADE = 0.98  # weight of the past at each new observation: about the last 50 count
PRIOR, RARER = 0.3, 0.3  # acceptance of a first child before anything was seen, and of each further, of it
TRUST = Rate(1.2, 2.0)  # acceptance to a score of 1, before anything was seen: what is tried for nothing costs windows
LEAST, MOST = 0.05, 0.8  # bounds of what is believed by a drafter's own score
ANY = -1  # in a look: whatever the score, or the depth
UNSURE = 5  # the class of scores of a drafter that has no opinion


class ByLook(Acceptance[Look]):
    """Nodes of one source, score, rank and depth are alike."""

    def __init__(self) -> None:
        super().__init__(FADE)
        self._trust: dict[str, Rate] = {}  # by source: acceptance to scores

    def kinds(self, tree: Tree, nodes: Sequence[int]) -> list[Look]:
        sources, scores, ranks, depths = tree.sources, tree.scores, tree.ranks, tree.depths
        return [(sources[node], score_class(scores[node]), ranks[node], depth_class(depths[node])) for node in nodes]

    def believed(self, kind: Look) -> float:
        """Depths are like shallower ones. A drafter's own score, where it has one, is believed as far as its scores
        were worth it."""
        source, score, rank, depth = kind
        if depth > 1:
            return self.rate((source, score, rank, depth - 1))
        if score not in (ANY, UNSURE):
            return min(max(score / 10 * self._trust.get(source, TRUST).value, LEAST), MOST)
        return PRIOR * RARER**rank if depth == ANY else self.rate((source, ANY, rank, ANY))

    def of_source(self, source: str) -> float:
        """The rate of first children of this source, whatever their score and depth."""
        return self.rate((source, ANY, 0, ANY))

    def add(self, kind: Look, accepted: bool) -> None:
        super().add(kind, accepted)
        source, score, rank, _ = kind
        whatever = (source, ANY, rank, ANY)
        if whatever not in self.seen:
            self.seen[whatever] = Rate(BELIEF * self.rate(kind), BELIEF)
        super().add(whatever, accepted)
        if score not in (ANY, UNSURE):
            trust = self._trust.setdefault(source, replace(TRUST))
            trust.add(accepted, FADE, score / 10)


def score_class(score: float) -> int:
    """Tenths."""
    return round(10 * score)


def depth_class(depth: int) -> int:
    """1, 2, 3, then 4 … 7, 8 … 15 and so on: deep nodes are rare and alike."""
    return depth if depth < 4 else 1 + depth.bit_length()
