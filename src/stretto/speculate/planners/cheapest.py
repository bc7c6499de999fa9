"""Draft as much as pays on this machine's clock, and nothing where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest
from ...models.clock import Clock
from ...row import Row
from ...tree import Tree
from ..contract import Drafting, Outcome, Planner, Planning, Room
from ..economy.acceptance import ByLook, Rate
from ..economy.decision import Asking, Costly, Speed
from ..economy.pruning import holds_draws, keep_paying, sizes_that_pay

MARGIN = 1.25  # what a draft must promise, relative to what it costs: the likeliest-looking are mostly overrated
HELD = 4.0  # accepted nodes that the belief weighs as much as that promises are held
FEWEST = (1, 3, 7, 15, 127)  # nodes: per node, windows of these cost the least
SLACK = 0.5  # what drafters may leave out is less likely by this factor: their own scores may be too low
LATELY = 0.95  # weight of earlier rounds in how they are


@dataclass(frozen=True, slots=True)
class Cheapest(Planner):
    """Maximise expected committed tokens per second, from the clock and from observed acceptance.

    Each node must bring more than its seconds are worth, which is what decoding of late writes in them (`Speed`).
    Acceptance is learnt per source, score, rank and depth, given that the parent was accepted, and is
    remembered from one decode to the next; where what was verified of late held less than that promised, all is taken
    to hold as much less. Proposals of free drafters are judged even when they are not
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
        knowledge = context.remembered(Knowledge, (self, drafting.identity), Knowledge)
        return CheapestPlanning(self, context.clock, drafting, knowledge)


@dataclass(slots=True)
class Knowledge:
    """What was learnt about one drafter."""

    rates: ByLook = field(default_factory=ByLook)
    costly: Costly = field(default_factory=Costly)
    speed: Speed = field(default_factory=Speed)
    held: Rate = field(default_factory=lambda: Rate(0.0, 0.0))  # what was accepted of what was promised

    def reaches(self, tree: Tree) -> list[float]:
        """Probability that each node is accepted, as promises are held of late."""
        held = min(1.0, (self.held.accepted + HELD) / (self.held.tried + HELD))
        return [held * reach for reach in self.rates.reaches(tree)]


class CheapestPlanning(Planning):
    """The planner at work."""

    def __init__(self, settings: Cheapest, clock: Clock, drafting: Drafting, knowledge: Knowledge) -> None:
        self._drafting, self._known = drafting, knowledge
        self._cost = clock.cost
        self._rows, self._least = 1, 0.0  # of this round, and the chance with which a node can pay in it
        self._asking, self._room = None, Room(drafting.parts * settings.most, settings.most)
        if not drafting.free:
            watched, most, known = drafting.watched, settings.most, knowledge
            self._asking = Asking(known.costly, known.rates, known.speed, self._cost, most=most, watched=watched)
            more = self._further if watched else None
            self._room = replace(self._room, more=more, paid=self._paid if drafting.mixed else None)

    # -- how much -----------------------------------------------------------------------------

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        self._rows = len(rows) or 1
        seconds, alone, most = self._seconds(), self._cost(1, self._rows), self._room.nodes * self._rows
        self._least = self._price * min((seconds(size, 0) - alone) / size for size in FEWEST if size <= most)
        if self._asking is None:
            return [replace(self._room, least=SLACK * self._least)] * len(rows)
        self._asking.begin(len(rows))
        if self._room.paid is not None:
            return [self._room] * len(rows)
        levels = [self._asking.levels(Tree()) for _ in rows]
        return [replace(self._room, nodes=min(level, self._room.nodes), depth=level) for level in levels]

    def _paid(self, tree: Tree) -> int:
        """Levels that a costly drafter may add to what free ones proposed for a row."""
        assert self._asking is not None
        if not self._asking.due:
            return 0
        reaches = self._known.reaches(tree)
        (nodes,) = sizes_that_pay([reaches], self._seconds(alike=self._rows), self._price / self._rows)
        return self._asking.levels(tree, nodes, 1.0 + sum(sorted(reaches, reverse=True)[:nodes]))

    def _further(self, tree: Tree) -> bool:
        assert self._asking is not None
        return self._asking.further(tree, self._known.rates.reaches(tree))

    def _seconds(self, alike: int = 1) -> Callable[[int, int], float]:
        """What the batch's round takes with so many drafted nodes in it, or in every one of rows that are `alike`."""
        cost, rows = self._cost, self._rows
        return lambda nodes, padding: cost(1 + nodes * alike / rows, rows, padding * alike)

    @property
    def _price(self) -> float:
        """Tokens of all rows that a second of the batch's window must bring."""
        return MARGIN * self._rows * self._known.speed.worth(self._cost(1, self._rows))

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        """The nodes most likely to be accepted, as many as pay for the batch as a whole."""
        if not any(map(len, trees)):
            return trees
        if not any(map(holds_draws, trees)) and max(map(self._known.rates.best, trees)) <= self._least:
            return [Tree() for _ in trees]  # none can pay, however many
        return keep_paying(trees, list(map(self._known.reaches, trees)), self._seconds(), self._price)

    def estimate(self, row: Row, tree: Tree) -> list[float]:
        return self._known.reaches(tree)

    # -- learning -----------------------------------------------------------------------------

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        known, rows = self._known, self._rows
        known.held.add(len(outcome.path), LATELY ** (1 / rows), sum(known.rates.reaches(outcome.tree)))
        known.rates.learn(proposed, outcome.committed)
        taken = self._cost(1 + len(outcome.tree), rows) / rows + known.costly.pace * draft_seconds
        known.speed.add(len(outcome.committed) * self._cost(1, rows) / rows, taken, rows)
        if self._asking is not None:
            self._asking.learn(proposed, outcome, draft_seconds, self._drafting.seconds_per_level)
