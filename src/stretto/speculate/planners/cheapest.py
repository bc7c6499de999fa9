"""Draft as much as pays on this machine's clock, and nothing where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from operator import itemgetter
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest
from ...models.clock import Clock
from ...row import Row
from ...tree import ROOT, Tree
from ..contract import Drafting, Outcome, Planner, Planning, Room
from ..costly import Asking, Costly, Draft, Speed
from ..estimate import holds_draws
from ..tallies import Tallies

MARGIN = 1.1  # what a draft must promise, relative to what it costs: proposing and learning cost a little
HOPELESS = 0.01  # nodes that are reached more rarely are not looked at


@dataclass(frozen=True, slots=True)
class Cheapest(Planner):
    """Maximise expected committed tokens per second, from the clock and from observed acceptance.

    Each node must bring more than its seconds are worth, which is what decoding of late writes in them (`Speed`).
    Acceptance is learnt per source, score, rank and depth, given that the parent was accepted, and is
    remembered from one decode to the next. Proposals of free drafters are judged even when they are not
    verified: the committed tokens show what would have been accepted, so turning drafting off costs no
    knowledge. A drafter that costs a model's forward is told after each level whether a further one pays. It pauses
    while it earns less than it costs, and is tried again after 2, 4, 8 … rounds; what it would have guessed in the
    meantime, which it then tells, counts as if it had been asked.
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
class Knowledge:
    """What was learnt about one drafter."""

    tallies: Tallies = field(default_factory=Tallies)
    costly: Costly = field(default_factory=Costly)
    speed: Speed = field(default_factory=Speed)


class CheapestPlanning(Planning):
    """The planner at work."""

    def __init__(self, settings: Cheapest, clock: Clock, drafting: Drafting, knowledge: Knowledge) -> None:
        self._drafting = drafting
        self._cost = cache(clock.cost)
        self._knowledge, self._tallies = knowledge, knowledge.tallies
        self._rows = 1  # in this round
        self._asking, self._room = None, Room(drafting.parts * settings.most, settings.most)
        if not drafting.free:
            self._asking = Asking(
                knowledge.costly,
                self._tallies,
                knowledge.speed,
                self._cost,
                most=settings.most,
                watched=drafting.watched,
            )
            more = self._further if drafting.watched else None
            self._room = replace(self._room, more=more, paid=self._paid if drafting.mixed else None)

    # -- how much -----------------------------------------------------------------------------

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        self._rows = len(rows)
        if self._asking is None:
            return [self._room] * len(rows)
        self._asking.begin(rows)
        if self._room.paid is not None:
            return [self._room] * len(rows)
        levels = [self._asking.levels(Tree(), Draft(0, 1.0)) for _ in rows]
        return [replace(self._room, nodes=min(level, self._room.nodes), depth=level) for level in levels]

    def _paid(self, tree: Tree) -> int:
        """Levels that a costly drafter may add to what free ones proposed for a row."""
        assert self._asking is not None
        if not self._asking.due:
            return 0
        reaches = sorted(self._reaches(tree), reverse=True)
        (nodes,) = self._best_sizes([reaches])
        return self._asking.levels(tree, Draft(nodes, 1.0 + sum(reaches[:nodes])))

    def _further(self, tree: Tree) -> bool:
        assert self._asking is not None
        return self._asking.further(tree, self._reaches(tree))

    @property
    def _price(self) -> float:
        """Tokens of a row that a second of the batch's window must bring."""
        return MARGIN * self._knowledge.speed.worth(self._cost(1, self._rows))

    def _best_sizes(self, orders: Sequence[Sequence[float]]) -> list[int]:
        """How many nodes of each row pay for the batch: the likeliest of all, and the row they lengthen.

        `orders` are the rows' reaches, falling; where there are fewer, each stands for several rows alike.
        """
        rows, price = self._rows, self._price
        alike = rows // len(orders)
        nodes = [(reach, row) for row, order in enumerate(orders) for reach in order]
        nodes.sort(key=itemgetter(0), reverse=True)  # stable: a tree's own nodes stay in their order
        plain = self._cost(1, rows)
        sizes, longest, kept, gain, best_gain = [0] * len(orders), 0, 0, 0.0, 0.0
        for count, (reach, row) in enumerate(nodes, start=1):
            sizes[row] += 1
            longest, slots = max(longest, sizes[row]), count * alike
            gain += reach * alike / rows
            now = gain - price * (self._cost(1 + slots / rows, rows, rows * longest - slots) - plain)
            if now > best_gain:
                kept, best_gain = count, now
        for _, row in nodes[kept:]:
            sizes[row] -= 1
        return sizes

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        """The nodes most likely to be accepted, as many as pay for the batch as a whole."""
        if not any(trees) or any(map(holds_draws, trees)):
            return trees
        if len(trees) == 1 and trees[0].is_chain:
            return [self._cut(trees[0])]
        reaches = [self._reaches(tree) for tree in trees]
        sizes = self._best_sizes([sorted(each, reverse=True) for each in reaches])
        return [self._kept(tree, each, size) for tree, each, size in zip(trees, reaches, sizes, strict=True)]

    def _kept(self, tree: Tree, reaches: Sequence[float], size: int) -> Tree:
        if size >= len(tree):
            return tree
        return tree.prune(sorted(range(len(tree)), key=reaches.__getitem__, reverse=True)[:size]) if size else Tree()

    def _cut(self, chain: Tree) -> Tree:
        """The same for the chain of a single row, without looking at nodes beyond which nothing can pay."""
        size = len(chain)
        best, best_gain, gain, price, reach = 0, 0.0, 0.0, self._price, 1.0
        for node in range(size):
            reach *= self._tallies.rate_of(chain, node)
            gain += reach - price * (self._cost(2 + node, 1) - self._cost(1 + node, 1))
            if gain > best_gain:
                best, best_gain = node + 1, gain
            elif gain + reach * (size - 1 - node) <= best_gain:  # were all others certain, and free
                break
        return chain if best == size else chain.prune(range(best))

    def _reaches(self, tree: Tree) -> list[float]:
        """Probability that each node is accepted: a child's never exceeds its parent's, so the best n are a tree."""
        reaches: list[float] = []
        for node, parent in enumerate(tree.parents):
            above = 1.0 if parent == ROOT else reaches[parent]
            reaches.append(above * self._tallies.rate_of(tree, node) if above > HOPELESS else 0.0)
        return reaches

    # -- learning -----------------------------------------------------------------------------

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        self._tallies.learn(proposed, outcome.committed)
        known, rows = self._knowledge, self._rows
        taken = self._cost(1 + len(outcome.tree), rows) / rows + known.costly.pace * draft_seconds
        known.speed.add(len(outcome.committed) * self._cost(1, rows) / rows, taken, rows)
        if self._asking is not None:
            self._asking.learn(proposed, outcome, draft_seconds, self._drafting.seconds_per_level)
