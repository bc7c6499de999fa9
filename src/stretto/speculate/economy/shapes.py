"""Planners that decide on a static tree of ranks: what they learn, when they think again, when they sit out.

A drafter that costs a model's forward per level is asked for the shape itself. One that costs next to nothing proposes
what it can, and the same beliefs then say what of it is worth verifying.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from ...context import Context
from ...row import Row
from ...tree import ROOT, NodeKind, Tree
from ..contract import NO_ROOM, Drafting, Outcome, Planning, Room
from .acceptance import Acceptance, trials
from .decision import Pause, Price
from .pruning import keep_paying

RETHINK = 16  # rounds between two decisions on the shape, once there were a few


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


TRIAL = Shape((ROOT, 0), (0.0, 0.0))  # what is asked for where nothing is believed to pay


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


def most_paying(shape: Shape, cost: Callable[[int], float], level_seconds: float) -> tuple[Shape, float]:
    """The beginning of a shape with the most expected tokens per second, and those; empty where none pays.

    `cost(nodes)` is what verifying takes, `level_seconds` what drafting one level takes.
    """
    best, best_yield, expected = 0, 1.0 / cost(0), 1.0
    depths: list[int] = []
    deepest = 0
    for size, (parent, value) in enumerate(zip(shape.parents, shape.values, strict=True), start=1):
        depths.append(1 if parent == ROOT else depths[parent] + 1)
        deepest = max(deepest, depths[-1])
        expected += value
        gain = expected / (cost(size) + deepest * level_seconds)
        if gain > best_yield:
            best, best_yield = size, gain
    return shape.first(best), best_yield


class ByPlace(Acceptance[tuple[int, int]]):
    """Nodes of one depth, from 1, and one rank among candidates, from 0, are alike; where depths do not count, of one
    rank. What was not tried for long is believed to be as one level higher, or as at first, and so is tried again."""

    def __init__(self, fade: float, *, by_depth: bool = True) -> None:
        """`fade` is the weight of what was learnt before, at each new outcome, (0, 1]."""
        super().__init__(fade, forgets=True)
        self._by_depth = by_depth

    def kinds(self, tree: Tree, nodes: Sequence[int]) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        ranks: dict[int, int] = {}  # parent -> candidates under it so far
        for parent, depth, proposal in zip(tree.parents, tree.depths, tree.proposals, strict=True):
            found.append(self._place(depth, ranks.get(parent, 0)))
            if proposal is not NodeKind.RIDER:
                ranks[parent] = found[-1][1] + 1
        return [found[node] for node in nodes]

    def believed(self, kind: tuple[int, int]) -> float:
        """Acceptance of the child of that rank before any was seen: .6, .2, .1, .05 …"""
        depth, rank = kind
        if depth > 1:
            return self.rate((depth - 1, rank))
        return 0.6 if rank == 0 else 0.4 * 0.5**rank

    def of(self, depth: int, rank: int) -> float:
        """Probability that the child of this rank is the accepted one."""
        return self.rate(self._place(depth, rank))

    def _place(self, depth: int, rank: int) -> tuple[int, int]:
        return (depth if self._by_depth else 1, rank)

    def learn_asked(self, tree: Tree, committed: Sequence[int], asked: dict[int, list[int]]) -> None:
        """Judge what came of the shape that was asked for, whose nodes have these children.

        One that was not delivered beside its siblings earned nothing, and is counted so: else a drafter of chains
        would be asked for broad trees for ever.
        """
        self.learn(tree, committed)
        place: int | None = ROOT
        for depth, (children, right) in enumerate(trials(tree, committed), start=1):
            wished = asked.get(place, []) if place is not None else []
            for rank in range(len(children), len(wished)):
                self.add(self._place(depth, rank), False)
            place = None
            if right is not None and (rank := children.index(right)) < len(wished):
                place = wished[rank]


@dataclass(slots=True)
class Known:
    """What was learnt about one drafter; kept from one decode to the next."""

    rates: ByPlace
    level: Price  # of drafting one level, for the whole batch


class ShapedPlanning(Planning):
    """A planner of static trees at work; `choose` is what they differ in."""

    def __init__(self, context: Context, drafting: Drafting, known: Known, room: Room) -> None:
        """`room` bounds every tree."""
        self._clock = context.clock
        self._free = drafting.free
        self._known = known
        self._room = room
        self._pause = Pause()
        self._rows = 1  # in the current round
        self._drafted: set[Row] = set()  # rows that were drafted for
        self._reading = False  # whether the drafter read a row's prompt in the round that is being learnt
        self._spent, self._levels = 0.0, 0  # of drafting in it
        self._chosen: dict[int, Shape] = {}  # number of rows -> decision
        self._age, self._due = 0, 1  # rounds since the last decision, and how many it lasts
        self._asked: dict[int, list[int]] = {}

    @abstractmethod
    def choose(self) -> Shape:
        """The tree that pays best in the current batch; an empty one where none does."""

    def settle(self, usual: bool) -> None:
        """All rows have learnt of the last round. In an unusual one, drafting began with reading a prompt."""
        if self._levels and usual:
            self._known.level.add(self._spent / self._levels)
        self._spent, self._levels = 0.0, 0

    def cost(self, nodes: int) -> float:
        """Seconds of a round of the current batch, drafting left out, whose largest tree has so many nodes."""
        return self._clock.cost(1 + nodes, self._rows)

    def best_shape(self, width: int) -> Shape:
        """Of the trees of the likeliest places, at most so many children wide, the one of most tokens per second."""
        level, known = self._known.level.seconds or 0.0, self._known.rates
        best, best_yield = Shape(), 0.0
        for depth in range(1 if level else self._room.depth, self._room.depth + 1):  # free levels: the deepest wins
            shape, gain = most_paying(likeliest(known.of, self._room.nodes, depth, width), self.cost, level)
            if gain > best_yield:
                best, best_yield = shape, gain
        return best

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        self.settle(usual=not self._reading)
        self._rows = len(rows)
        self._drafted.intersection_update(rows)
        self._reading = False
        if self._free:
            return [self._room] * len(rows)
        shape = self._decide(len(rows))
        if shape.parents:
            self._pause.end()
        elif self._pause.over():
            self._pause.begin()
            shape = TRIAL.first(min(self._room.nodes, self._room.depth))
        self._asked = shape.children()
        room = Room(len(shape.parents), shape.depth, shape.parents) if shape.parents else NO_ROOM
        return [room] * len(rows)

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        if not self._free or not any(map(len, trees)):
            return trees
        values = list(map(self._known.rates.reaches, trees))
        return keep_paying(trees, values, lambda nodes, padding: self.cost((nodes + padding) // len(rows)))

    def estimate(self, row: Row, tree: Tree) -> list[float]:
        return self._known.rates.reaches(tree)

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        self._spent += draft_seconds
        if not len(proposed):
            return
        self._levels = max(self._levels, *proposed.depths)
        self._reading |= row not in self._drafted
        self._drafted.add(row)
        if self._free:
            self._known.rates.learn(proposed, outcome.committed)
        else:
            self._known.rates.learn_asked(proposed, outcome.committed, self._asked)

    def _decide(self, rows: int) -> Shape:
        """The decision that stands, or a new one: after 1, 2, 4 … and then every so many rounds."""
        self._age += 1
        if self._age > self._due:
            self._age, self._due = 1, min(2 * self._due, RETHINK)
            self._chosen.clear()
        if rows not in self._chosen:
            self._chosen[rows] = self.choose()
        return self._chosen[rows]
