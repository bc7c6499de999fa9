"""Planners that decide on a static tree of ranks: what they learn, when they think again, when they sit out.

A drafter that costs a model's forward per level is asked for the shape itself. One that costs next to nothing proposes
what it can, and the same beliefs then say what of it is worth verifying.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..context import Context
from ..row import Row
from ..tree import ROOT, Tree
from .contract import NO_ROOM, Drafting, Outcome, Planning, Room
from .estimate import RankRates, Shape, keep_paying
from .pause import Pause

RETHINK = 16  # rounds between two decisions on the shape, once there were a few
CREEP = 1.05  # by how much at most the cost of a level is believed to have risen in one round
TRIAL = Shape((ROOT, 0), (0.0, 0.0))  # what such a trial asks for


@dataclass(slots=True)
class LevelCost:
    """Seconds that one level of drafting takes for the whole batch: the least of late, because hiccups only add."""

    seconds: float | None = None  # None: nothing was drafted yet
    _spent: float = 0.0  # in the round that is being learnt
    _levels: int = 0

    def add(self, seconds: float, tree: Tree) -> None:
        """A row's share of drafting its tree."""
        self._spent += seconds
        self._levels = max(self._levels, max(tree.depths, default=0))

    def settle(self, usual: bool = True) -> None:
        """The round is over; it counts if it was a usual one."""
        if self._levels and usual:
            seconds = self._spent / self._levels
            self.seconds = seconds if self.seconds is None else min(seconds, CREEP * self.seconds)
        self._spent, self._levels = 0.0, 0


@dataclass(slots=True)
class Known:
    """What was learnt about one drafter; kept from one decode to the next."""

    rates: RankRates
    level: LevelCost


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
        self._chosen: dict[int, Shape] = {}  # number of rows -> decision
        self._age, self._due = 0, 1  # rounds since the last decision, and how many it lasts
        self._asked: dict[int, list[int]] = {}

    @abstractmethod
    def choose(self) -> Shape:
        """The tree that pays best in the current batch; an empty one where none does."""

    def settle(self, usual: bool) -> None:
        """All rows have learnt of the last round. In an unusual one, drafting began with reading a prompt."""
        self._known.level.settle(usual)

    def cost(self, nodes: int) -> float:
        """Seconds of a round of the current batch, drafting left out, whose largest tree has so many nodes."""
        return self._clock.cost(1 + nodes, self._rows)

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
            shape = TRIAL.first(self._room.nodes) if self._room.depth > 1 else TRIAL.first(min(1, self._room.nodes))
        self._asked = shape.children()
        room = Room(len(shape.parents), shape.depth, shape.parents) if shape.parents else NO_ROOM
        return [room] * len(rows)

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        if not self._free or not any(map(len, trees)):
            return trees
        return keep_paying(trees, [self._known.rates.values(tree) for tree in trees], self.cost)

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        self._known.level.add(draft_seconds, proposed)
        if len(proposed):
            self._reading |= row not in self._drafted
            self._drafted.add(row)
            self._known.rates.learn(proposed, outcome.committed, None if self._free else self._asked)

    def _decide(self, rows: int) -> Shape:
        """The decision that stands, or a new one: after 1, 2, 4 … and then every so many rounds."""
        self._age += 1
        if self._age > self._due:
            self._age, self._due = 1, min(2 * self._due, RETHINK)
            self._chosen.clear()
        if rows not in self._chosen:
            self._chosen[rows] = self.choose()
        return self._chosen[rows]


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
