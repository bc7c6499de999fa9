"""How often drafted nodes of one kind were accepted when their parent was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..tree import ROOT, Tree

Kind = tuple[str, int, int, int]  # what nodes are alike: source, class of score, rank, class of depth

FADE = 0.96  # weight of the past at each new observation: about the last 25 count
PRIOR, RARER = 0.5, 0.3  # acceptance of a first child before anything was seen, and of each further, of it
LEAST, MOST = 0.05, 0.8  # bounds of a drafter's own score, as such a belief
BELIEF = 2.0  # observations that a belief weighs as much as
ANY = -1  # in a kind: whatever the score, or the depth
UNSURE = 5  # the class of scores of a drafter that has no opinion


@dataclass(slots=True)
class Tally:
    """A fading acceptance rate."""

    accepted: float
    tried: float

    @property
    def rate(self) -> float:
        """Accepted per tried."""
        return self.accepted / self.tried

    def add(self, accepted: bool) -> None:
        """Count one more observation."""
        self.accepted = FADE * self.accepted + accepted
        self.tried = FADE * self.tried + 1.0


@dataclass(slots=True)
class Tallies:
    """What was learnt about one drafter's nodes."""

    known: dict[Kind, Tally] = field(default_factory=dict)

    def rate(self, kind: Kind) -> float:
        """How often nodes of this kind were accepted when their parent was.

        Unseen depths are like shallower ones. Of unseen scores, the drafter's own is believed, where it has one.
        """
        source, score, rank, depth = kind
        for shallower in range(depth, 0, -1):
            tally = self.known.get((source, score, rank, shallower))
            if tally is not None:
                return tally.rate
        if score not in (ANY, UNSURE):
            return min(max(score / 10, LEAST), MOST)
        tally = self.known.get((source, ANY, rank, ANY))
        return tally.rate if tally is not None else PRIOR * RARER**rank

    def rate_of(self, tree: Tree, node: int) -> float:
        """The rate of nodes like this one."""
        return self.rate(kind_of(tree, node))

    def of_source(self, source: str) -> float:
        """The rate of first children of this source, whatever their score and depth."""
        return self.rate((source, ANY, 0, ANY))

    def add(self, kind: Kind, accepted: bool) -> None:
        """Count one more observation; a new tally begins with what was believed."""
        for each in (kind, (kind[0], ANY, kind[2], ANY)):
            if each not in self.known:
                self.known[each] = Tally(BELIEF * self.rate(kind), BELIEF)
            self.known[each].add(accepted)

    def learn(self, tree: Tree, committed: Sequence[int]) -> None:
        """Judge the nodes along the committed tokens, whether they were verified or not."""
        parent = ROOT
        for token in committed:
            follow = None
            for child in tree.children(parent):
                hit = tree.tokens[child] == token
                self.add(kind_of(tree, child), hit)
                if hit:
                    follow = child
            if follow is None:
                break
            parent = follow


def kind_of(tree: Tree, node: int) -> Kind:
    """Nodes of one kind share a tally."""
    return tree.sources[node], score_class(tree.scores[node]), tree.ranks[node], depth_class(tree.depths[node])


def score_class(score: float) -> int:
    """Tenths."""
    return round(10 * score)


def depth_class(depth: int) -> int:
    """1, 2, 3, then 4 … 7, 8 … 15 and so on: deep nodes are rare and alike."""
    return depth if depth < 4 else 1 + depth.bit_length()
