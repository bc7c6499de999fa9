"""Recursive speculative decoding's trees: siblings never repeat, or whole sequences do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability, Model
from ...models.heads.contract import DraftHead
from ...tree import ROOT, NodeKind, Siblings, Tree
from ..chance import KeyedChance
from ..contract import Drafter, Drafting, Room
from ..drafted import Drafted, source_of
from ..growth import Growing, Growth, Urn, add_taken, fill, shape_of, urns_of
from ..inside.contract import Layers

SOURCE = "arXiv 2402.14160"
ENTRIES = (
    Entry(
        name="rsd-constant",
        family="speculate",
        source=SOURCE,
        parts="rsd-c+recursive",
        guarantee=Guarantee.DISTRIBUTION,
        number=31,
        needs=("draft model", "tree windows"),
        summary="a tree of constant branching whose siblings are drawn without replacement, judged recursively",
    ),
    Entry(
        name="rsd-stochastic",
        family="speculate",
        source=SOURCE + "; stochastic beams: arXiv 1903.06059",
        parts="rsd-s+recursive",
        guarantee=Guarantee.DISTRIBUTION,
        number=31,
        needs=("draft model", "tree windows"),
        summary="a stochastic beam: sequences drawn without replacement, unlikely ones cut early, judged recursively",
    ),
)


@dataclass(frozen=True, slots=True)
class Constant(Drafter):
    """RSD-C: at depth d every node gets `branches[d]` children, drawn without replacement, in the order of drawing.

    A room with a shape has that shape filled instead. At temperature 0 the children are the likeliest tokens. Score:
    the small model's probability of the token.
    """

    branches: tuple[int, ...] = (2, 2, 1, 1)  # children of each node at depth 0, 1 …, each ≥ 1
    model: str | Model | DraftHead | Layers = "zoo/draft"  # a name or folder, or what is loaded already

    name: ClassVar[str] = "rsd-c"
    proposals: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.SAMPLED, NodeKind.POINT})

    def __post_init__(self) -> None:
        if not self.branches or min(self.branches) < 1:
            raise InvalidRequest(f"rsd-c with branches {self.branches}", hint="each at least 1: rsd-c(2,2,1)")

    @property
    def needs(self) -> Ability:
        return Ability.TREE | getattr(self.model, "needs", Ability.NONE)

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        return Growing(self, source_of(context, self.model, Ability.TREE), self.grow)

    def grow(self, draft: Drafted, room: Room, chance: KeyedChance | None) -> Growth:
        """Fill the room's shape, or that of the branches."""
        shape = shape_of(self.branches, room) if room.shape is None else room.shape
        return fill(draft, room, shape, lambda lines, depth: urns_of(lines, depth, chance), self.name)


@dataclass(frozen=True, slots=True)
class Stochastic(Drafter):
    """RSD-S: each level holds the `width` sequences that a stochastic beam search keeps.

    The published form perturbs the log-probability of every continuation with Gumbel noise G, given that the best of a
    node's is the node's own, and keeps the largest. Here e^−G is told as the time at which a sequence arrives: a
    node's first child arrives with it, each further one after a wait that is exponential in the probability left. So
    only the children that survive are ever drawn, in the order in which they would be sorted. At temperature 0 it
    is a beam search. Score: the small model's probability of the token.
    """

    width: int = 4  # sequences per level, ≥ 1
    model: str | Model | DraftHead | Layers = "zoo/draft"  # a name or folder, or what is loaded already

    name: ClassVar[str] = "rsd-s"
    proposals: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.SAMPLED, NodeKind.POINT})

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InvalidRequest(f"rsd-s(width={self.width})", hint="width >= 1")

    @property
    def needs(self) -> Ability:
        return Ability.TREE | getattr(self.model, "needs", Ability.NONE)

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        return Growing(self, source_of(context, self.model, Ability.TREE), self.grow)

    def grow(self, draft: Drafted, room: Room, chance: KeyedChance | None) -> Growth:
        """One level after the other, until the room is full or no sequence goes on."""
        tree = Tree()
        beams = [Beam(ROOT, ROOT, 0.0, 1.0)]
        for depth in range(1, room.depth + 1):
            lines = yield [beam.place for beam in beams]
            level = []
            coins = (
                None if chance is None else chance.at(depth, depth, len(beams))
            )  # of the times; the urns' end before
            for beam, urn, time in arrivals(beams, urns_of(lines, depth, chance), coins):
                token = urn.take()
                assert token is not None
                node = add_taken(tree, token, beam.node, urn, self.name)
                level.append(Beam(node, draft.node(token, beam.place), time, beam.mass * urn.score))
                if len(level) == self.width or len(tree) == room.nodes:
                    break
            beams = [beam for beam in level if not draft.ends(tree.tokens[beam.node])]
            if not beams or len(tree) == room.nodes or depth == room.depth:
                break
            if room.more is not None and not room.more(tree):
                break
        return tree


@dataclass(frozen=True, slots=True)
class Beam:
    """A sequence that survived."""

    node: int  # of the tree
    place: int  # of the draft
    time: float  # at which it arrived, e^−G: the smaller, the better
    mass: float  # the small model's probability of the sequence


def arrivals(
    beams: Sequence[Beam], urns: Sequence[Urn], chance: KeyedChance | None
) -> Iterator[tuple[Beam, Urn, float]]:
    """The beams in the order in which their children arrive, one entry per child, with the time; endless patience.

    Who is told of an entry takes the child from the beam's urn before asking for the next. Without chance the
    likelier sequence comes first.
    """
    waiting: list[tuple[float, int]] = []

    def await_next(at: int, time: float | None) -> None:
        """Queue the beam's next child; `time` is its own when it is known already."""
        mass = beams[at].mass * float(urns[at].left.max() if chance is None else urns[at].left.sum())
        if mass > 0:
            if chance is None:
                time = -mass
            elif time is None:
                time = now - math.log(chance.uniform()) / mass
            heappush(waiting, (time, at))

    now = 0.0
    for at, beam in enumerate(beams):
        await_next(at, beam.time)
    while waiting:
        now, at = heappop(waiting)
        yield beams[at], urns[at], now
        await_next(at, None)
