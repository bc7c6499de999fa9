"""Draft as much as pays on this machine's clock, and nothing where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ...errors import InvalidRequest
from ...models.clock import Clock
from ...row import Row
from ...tree import ROOT, Tree
from ..contract import Context, Drafting, Outcome, Planner, Planning, Room
from ..estimate import holds_draws

Kind = tuple[str, int, int, int]  # what nodes are alike: source, score in tenths, rank, depth class

FADE = 0.96  # weight of the past at each new observation: about the last 25 count
PRIOR, RARER = 0.7, 0.3  # acceptance of a first child before anything was seen: hopeful; and of each further, of it
BELIEF = 2.0  # observations that such a belief weighs as much as
ANY = -1  # in a kind: whatever the score, or the depth
LONGEST_PAUSE = 128  # rounds between two trials of a drafter that does not pay
TRIAL = 2  # depth of such a trial
CHEAPER, DEARER = 1.0, 0.05  # weight of a new observation of what a drafted level takes, by its direction
MARGIN = 1.1  # what a draft must promise, relative to none: proposing and learning cost a little
HOPELESS = 0.01  # nodes that are reached more rarely are not looked at


@dataclass(frozen=True, slots=True)
class Cheapest(Planner):
    """Maximise expected committed tokens per second, from the clock and from observed acceptance.

    Acceptance is learnt per source, score, rank and depth, given that the parent was accepted, and is
    remembered from one decode to the next. Proposals of free drafters are judged even when they are not
    verified: the committed tokens show what would have been accepted, so turning drafting off costs no
    knowledge. A drafter that costs a model's forward pauses where it does not pay, and is tried again after
    1, 2, 4 … rounds.
    """

    most: int = 16  # nodes, ≥ 1

    name: ClassVar[str] = "cheapest"

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InvalidRequest(f"cheapest({self.most})", hint="most >= 1; use method 'plain' for no drafting")

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        knowledge = context.memory.setdefault((self, drafting.identity), Knowledge())
        assert isinstance(knowledge, Knowledge)
        return CheapestPlanning(self, context.clock, drafting, knowledge)


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
class Knowledge:
    """What was learnt about one drafter."""

    tallies: dict[Kind, Tally] = field(default_factory=dict)
    source: tuple[str, int] = ("", 5)  # of a costly drafter's nodes, with their score class
    pause: int = 1  # rounds that a costly drafter sits out after its last trial, over all decodes
    left: int = 0  # of these, still to come
    seconds_per_level: float | None = None  # of a costly drafter and a row, rather low of late; None: not tried yet

    def rate(self, kind: Kind) -> float:
        """How often nodes of this kind were accepted when their parent was.

        Unseen depths are like shallower ones, unseen scores like all nodes of that source and rank.
        """
        source, score, rank, depth = kind
        for shallower in range(depth, 0, -1):
            tally = self.tallies.get((source, score, rank, shallower))
            if tally is not None:
                return tally.rate
        tally = self.tallies.get((source, ANY, rank, ANY))
        return tally.rate if tally is not None else PRIOR * RARER**rank

    def add(self, kind: Kind, accepted: bool) -> None:
        """Count one more observation; a new tally begins with what was believed."""
        for each in (kind, (kind[0], ANY, kind[2], ANY)):
            if each not in self.tallies:
                self.tallies[each] = Tally(BELIEF * self.rate(kind), BELIEF)
            self.tallies[each].add(accepted)


class CheapestPlanning(Planning):
    """The planner at work."""

    def __init__(self, settings: Cheapest, clock: Clock, drafting: Drafting, knowledge: Knowledge) -> None:
        self._most = settings.most
        self._clock = clock
        self._free, self._mixed = drafting.free, drafting.mixed
        self._known = knowledge
        self._costs: dict[tuple[int, int], float] = {}
        self._room = Room(self._most, self._most, paid=self._paid if self._mixed else None)
        self._rows = 1  # in this round
        self._due = False  # whether a costly drafter may be asked in this round
        self._levels = 0  # asked of it in this round
        self._unpaid: set[str] = set()  # sources of what free drafters propose beside it

    # -- how much -----------------------------------------------------------------------------

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        if not self._free:
            self._rows, self._levels = len(rows), 0
            self._due = self._known.left == 0
            self._known.left = max(0, self._known.left - 1)
            if not self._mixed:
                size = self._paid(Tree())
                return [Room(size, size)] * len(rows)
        return [self._room] * len(rows)

    def _paid(self, tree: Tree) -> int:
        """Levels that a costly drafter may add to what free ones proposed for a row."""
        if not self._due:  # it sits out, and nothing new is known of it
            return 0
        known = self._known
        self._unpaid.update(tree.sources)
        levels = self._best_levels(tree, known.seconds_per_level) if known.seconds_per_level is not None else 0
        if levels > 0:
            known.pause, known.left = 1, 0
        elif known.left == 0:
            known.pause = known.left = min(2 * known.pause, LONGEST_PAUSE)
            levels = min(TRIAL, self._most)
        self._levels = max(self._levels, levels)
        return levels

    def _best_levels(self, tree: Tree, seconds_per_level: float) -> int:
        """The chain length with the highest expected yield per second beside `tree`, drafting included."""
        reaches = self._reaches(tree)
        missed = 1.0 - sum(reach for reach, parent in zip(reaches, tree.parents, strict=True) if parent == ROOT)
        nodes, best_yield = self._best_size([sorted(reaches, reverse=True)], self._rows)
        expected, reach, best = 1.0 + sum(sorted(reaches, reverse=True)[:nodes]), max(0.0, missed), 0
        for depth in range(1, self._most - nodes + 1):
            reach *= self._known.rate((*self._known.source, 0, depth_class(depth)))
            expected += reach
            cost = self._cost(1 + nodes + depth, self._rows) + depth * self._rows * seconds_per_level
            if expected > best_yield * cost:
                best, best_yield = depth, expected / cost
            elif expected + reach * (self._most - nodes - depth) <= best_yield * cost:  # even if all others were right
                break
        return best

    def _best_size(self, orders: Sequence[Sequence[float]], rows: int) -> tuple[int, float]:
        """How many nodes a row pay for the batch, and the tokens per second and row: `orders` are reaches, falling."""
        best, best_yield = 0, MARGIN / self._cost(1, rows)
        expected = 1.0
        for size in range(1, max(map(len, orders)) + 1):
            expected += sum(order[size - 1] for order in orders if size <= len(order)) / len(orders)
            gain = expected / self._cost(1 + size, rows)
            if gain > best_yield:
                best, best_yield = size, gain
        return best, best_yield

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        """The nodes most likely to be accepted, as many for each row as pay for the batch as a whole."""
        if not (self._free or self._mixed) or not any(trees) or any(map(holds_draws, trees)):
            return trees
        if len(trees) == 1 and trees[0].is_chain:
            return [self._cut(trees[0])]
        reaches = [self._reaches(tree) for tree in trees]
        best, _ = self._best_size([sorted(each, reverse=True) for each in reaches], len(trees))
        return [self._kept(tree, each, best) for tree, each in zip(trees, reaches, strict=True)]

    def _kept(self, tree: Tree, reaches: Sequence[float], size: int) -> Tree:
        if size >= len(tree):
            return tree
        return tree.prune(sorted(range(len(tree)), key=reaches.__getitem__, reverse=True)[:size]) if size else Tree()

    def _cut(self, chain: Tree) -> Tree:
        """The same for the chain of a single row, without looking at nodes beyond which nothing can pay."""
        size = len(chain)
        best, best_yield = 0, MARGIN / self._cost(1, 1)
        expected, reach = 1.0, 1.0
        for node in range(size):
            reach *= self.rate_of(chain, node)
            expected += reach
            cost = self._cost(2 + node, 1)
            if expected > best_yield * cost:
                best, best_yield = node + 1, expected / cost
            elif expected + reach * (size - 1 - node) <= best_yield * cost:  # were all others certain, and free
                break
        return chain if best == size else chain.prune(range(best))

    def _reaches(self, tree: Tree) -> list[float]:
        """Probability that each node is accepted: a child's never exceeds its parent's, so the best n are a tree."""
        reaches: list[float] = []
        for node, parent in enumerate(tree.parents):
            above = 1.0 if parent == ROOT else reaches[parent]
            reaches.append(above * self.rate_of(tree, node) if above > HOPELESS else 0.0)
        return reaches

    def rate_of(self, tree: Tree, node: int) -> float:
        """How often nodes like this one were accepted when their parent was."""
        return self._known.rate(kind_of(tree, node))

    def _cost(self, tokens: int, rows: int) -> float:
        key = (tokens, rows)
        if key not in self._costs:
            self._costs[key] = self._clock.cost(tokens, rows)
        return self._costs[key]

    # -- learning -----------------------------------------------------------------------------

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        parent = ROOT
        for token in outcome.committed:
            follow = None
            for child in proposed.children(parent):
                hit = proposed.tokens[child] == token
                self._known.add(kind_of(proposed, child), hit)
                if hit:
                    follow = child
            if follow is None:
                break
            parent = follow
        if self._levels:
            self._learn_price(proposed, draft_seconds)

    def _learn_price(self, proposed: Tree, draft_seconds: float) -> None:
        """What a level of a costly drafter takes, and what its nodes are called."""
        known = self._known
        own = next((node for node, source in enumerate(proposed.sources) if source not in self._unpaid), None)
        if own is not None:
            known.source = kind_of(proposed, own)[:2]
        seconds = draft_seconds / self._levels
        before = seconds if known.seconds_per_level is None else known.seconds_per_level
        if seconds < before:
            known.seconds_per_level = before + CHEAPER * (seconds - before)
        else:  # reading a prompt, or a hiccup, is no habit
            known.seconds_per_level = before + DEARER * (min(seconds, 2 * before) - before)


def kind_of(tree: Tree, node: int) -> Kind:
    """Nodes of one kind share a tally."""
    return tree.sources[node], round(10 * tree.scores[node]), tree.ranks[node], depth_class(tree.depths[node])


def depth_class(depth: int) -> int:
    """1, 2, 3, then 4 … 7, 8 … 15 and so on: deep nodes are rare and alike."""
    return depth if depth < 4 else 1 + depth.bit_length()
