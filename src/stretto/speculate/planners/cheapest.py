"""Draft as much as pays on this machine's clock, and nothing where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...errors import InvalidRequest
from ...models.clock import Clock
from ...row import Row
from ...tree import ROOT, Tree
from ..contract import NO_ROOM, Context, Drafting, Outcome, Planner, Planning, Room

Kind = tuple[str, int, int, int]  # what nodes are alike: source, score in tenths, rank, depth class

FADE = 0.97  # weight of the past at each new observation: about the last 33 count
PRIOR = (0.7, 1.0)  # accepted and tried before anything was seen: hopeful, so that everything is tried
LONGEST_PAUSE = 64  # rounds between two trials of a drafter that does not pay
TRIAL = 2  # depth of such a trial


@dataclass(frozen=True, slots=True)
class Cheapest(Planner):
    """Maximise expected committed tokens per second, from the clock and from observed acceptance.

    Acceptance is learnt per source, score, rank and depth, given that the parent was accepted. Proposals
    of free drafters are judged even when they are not verified: the committed tokens show what would have
    been accepted, so turning drafting off costs no knowledge. Drafters that cost a model's forward pause
    where they do not pay, and are tried again after 1, 2, 4 … rounds.
    """

    most: int = 16  # nodes, ≥ 1

    name: ClassVar[str] = "cheapest"

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InvalidRequest(f"cheapest({self.most})", hint="most >= 1; use method 'plain' for no drafting")

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        return CheapestPlanning(self, context.clock, drafting.free)


@dataclass(slots=True)
class Tally:
    """A fading acceptance rate."""

    accepted: float = PRIOR[0]
    tried: float = PRIOR[1]

    @property
    def rate(self) -> float:
        return self.accepted / self.tried

    def add(self, accepted: bool) -> None:
        self.accepted = FADE * self.accepted + accepted
        self.tried = FADE * self.tried + 1.0


@dataclass(slots=True)
class Pause:
    """Rounds that a costly drafter sits out in a row of rounds in which it does not pay."""

    length: int = 1
    left: int = 0


class CheapestPlanning(Planning):
    def __init__(self, settings: Cheapest, clock: Clock, free: bool) -> None:
        self._settings = settings
        self._clock = clock
        self._free = free
        self._tallies: dict[Kind, Tally] = {}
        self._pauses: dict[Row, Pause] = {}
        self._source = ("", 5)  # the costly drafter's source and score class, known after its first proposal
        self._seconds_per_node = 0.0  # of a costly drafter, fading average
        self._costs: dict[tuple[int, int], float] = {}

    # -- how much -----------------------------------------------------------------------------

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        most = self._settings.most
        if self._free:
            return [Room(most, most)] * len(rows)
        depth = self._best_depth(len(rows))
        return [self._costly_room(row, depth) for row in rows]

    def _costly_room(self, row: Row, depth: int) -> Room:
        pause = self._pauses.setdefault(row, Pause())
        if depth > 0:
            pause.length = 1
            return Room(depth, depth)
        if pause.left > 0:
            pause.left -= 1
            return NO_ROOM
        pause.length = min(2 * pause.length, LONGEST_PAUSE)
        pause.left = pause.length
        return Room(TRIAL, TRIAL)

    def _best_depth(self, rows: int) -> int:
        """The chain length with the highest expected yield per second, drafting included."""
        best, best_yield = 0, 1.0 / self._cost(1, rows)
        expected, reach = 1.0, 1.0
        for depth in range(1, self._settings.most + 1):
            reach *= self._rate((*self._source, 0, depth_class(depth)))
            expected += reach
            seconds = self._cost(1 + depth, rows) + depth * rows * self._seconds_per_node
            if expected / seconds > best_yield:
                best, best_yield = depth, expected / seconds
        return best

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        """The nodes most likely to be accepted, as many for each row as pay for the batch as a whole."""
        if not self._free or not any(map(len, trees)):
            return trees
        reaches = [self._reaches(tree) for tree in trees]
        orders = [sorted(range(len(tree)), key=lambda node: -r[node]) for tree, r in zip(trees, reaches, strict=True)]
        best, best_yield = 0, len(trees) / self._cost(1, len(trees))
        expected = float(len(trees))
        for size in range(1, max(map(len, trees)) + 1):
            expected += sum(r[o[size - 1]] for r, o in zip(reaches, orders, strict=True) if size <= len(o))
            gain = expected / self._cost(1 + size, len(trees))
            if gain > best_yield:
                best, best_yield = size, gain
        return [
            tree if best >= len(tree) else tree.prune(order[:best]) if best else Tree()
            for tree, order in zip(trees, orders, strict=True)
        ]

    def _reaches(self, tree: Tree) -> list[float]:
        """Probability that each node is accepted: a child's never exceeds its parent's, so the best n are a tree."""
        reaches: list[float] = []
        for node, parent in enumerate(tree.parents):
            above = 1.0 if parent == ROOT else reaches[parent]
            reaches.append(above * self.rate_of(tree, node))
        return reaches

    def rate_of(self, tree: Tree, node: int) -> float:
        """How often nodes like this one were accepted when their parent was."""
        return self._rate(kind_of(tree, node))

    def _rate(self, kind: Kind) -> float:
        tally = self._tallies.get(kind)
        return tally.rate if tally else PRIOR[0] / PRIOR[1]

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
                self._tallies.setdefault(kind_of(proposed, child), Tally()).add(hit)
                if hit:
                    follow = child
            if follow is None:
                break
            parent = follow
        if not self._free and len(proposed):
            self._source = kind_of(proposed, 0)[:2]
            seconds = draft_seconds / len(proposed)
            before = self._seconds_per_node or seconds
            self._seconds_per_node = 0.8 * before + 0.2 * seconds

    def close(self, row: Row) -> None:
        self._pauses.pop(row, None)


def kind_of(tree: Tree, node: int) -> Kind:
    """Nodes of one kind share a tally."""
    return tree.sources[node], round(10 * tree.scores[node]), tree.ranks[node], depth_class(tree.depths[node])


def depth_class(depth: int) -> int:
    """1, 2, 3, then 4 … 7, 8 … 15 and so on: deep nodes are rare and alike."""
    return depth if depth < 4 else 1 + depth.bit_length()
