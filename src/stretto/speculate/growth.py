"""Growing trees with a small model or a head: level by level, all rows at once.

How one row's tree grows is a generator: it yields the nodes whose continuations it needs, is sent one line per node,
and returns the tree. It sees nothing but its own row, so a row's tree is the same in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from ..models.machine import stopwatch
from ..row import Row
from ..tree import ROOT, NodeKind, Tree
from .chance import DRAFTING, Chance, KeyedChance, Vector, chance_of
from .contract import Drafting, DraftSession, Room
from .drafted import Drafted, DraftedSession, DraftSource

if TYPE_CHECKING:
    from torch import Tensor

TOGETHER = 1 << 41  # beyond all purposes of coins that are not told apart by drafter

Growth = Generator[Sequence[int], Any, Tree]  # yields nodes of the draft, is sent a line of `digest` for each
Grow = Callable[[Drafted, Room, KeyedChance | None], Growth]  # no chance: the row's temperature is 0


class Drawing(Drafting):
    """A drafter that draws tokens, at work in one decode.

    Drafters that draft for one row together must not toss the same coins: what one drew would tell what another one
    drew, and no acceptor is made for that. So `coins` says whose they are; 0: nobody else drafts.
    """

    coins = 0

    def chance(self, row: Row) -> KeyedChance:
        """The coins of the row's coming round."""
        return chance_of(row, TOGETHER + self.coins if self.coins else DRAFTING)


class Growing(Drawing):
    """A drafter that grows trees, at work in one decode."""

    free = False
    watched = True

    def __init__(self, settings: object, small: DraftSource, grow: Grow) -> None:
        super().__init__(settings, self._open_session)
        self.small = small
        self.want, self.of_prompt = small.want, small.of_prompt
        self._grow = grow
        self._now = stopwatch(small.device)

    def _open_session(self, row: Row) -> DraftSession:
        return DraftedSession(self, self.small.open(row))

    def digest(self, logits: Tensor, steered: Tensor) -> Any:
        """What growths are sent, a line per node: here the probabilities [N, V] of the steered logits [N, V]."""
        return probabilities(steered)

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        trees = [Tree() for _ in sessions]
        growing: list[Waiting] = []
        for at, (session, room) in enumerate(zip(sessions, rooms, strict=True)):
            draft = cast(DraftedSession, session).draft
            depth = min(room.depth, draft.begin())
            if room.nodes > 0 and depth > 0:
                greedy = draft.row.rule.pipeline.greedy
                chance = None if greedy else self.chance(draft.row)
                growth = self._grow(draft, replace(room, depth=depth), chance)
                wanted = next(growth, None)
                if wanted is not None:  # else there is nothing to grow: the shape is empty
                    growing.append(Waiting(at, draft, growth, wanted))
        ends = [self._now()]
        while growing:
            drafts, places = [one.draft for one in growing], [one.wanted for one in growing]
            logits = self.small.read(drafts, places)
            lines = self.digest(logits, self.small.steer(logits, drafts, places))
            start, still = 0, []
            for one in growing:
                end = start + len(one.wanted)
                try:
                    one.wanted = one.growth.send(lines[start:end])
                    still.append(one)
                except StopIteration as grown:
                    trees[one.at] = grown.value
                start = end
            growing = still
            ends.append(self._now())
        self.time_levels(ends)
        return trees


@dataclass(slots=True)
class Waiting:
    """One row's tree, and what it waits for."""

    at: int  # among the sessions
    draft: Drafted
    growth: Growth
    wanted: Sequence[int]


class Giver(Protocol):
    """Gives the children of one node, one by one."""

    proposal: NodeKind
    drawn_from: Vector | None
    belief: Vector | None
    score: float  # of the token given last

    def take(self) -> int | None:
        """The next token; None when there is no further one."""
        ...


class Urn:
    """The tokens that may follow one node, taken one by one.

    With chance they are drawn, from `q` or, without replacement, from what is left of it: drawing like that orders
    tokens as sorting log q + Gumbel noise would. Without chance the best one left is taken, of equals the first.
    A token that q excludes is never taken.
    """

    def __init__(self, q: Vector, chance: Chance | None, *, replaced: bool = False) -> None:
        """`q` [V], probabilities; `replaced`: a drawn token may be drawn again."""
        self.q = q
        self.replaced = replaced and chance is not None
        self.proposal = NodeKind.POINT if chance is None else NodeKind.SAMPLED
        self.drawn_from = None if chance is None else q
        self.belief: Vector | None = None
        self.score = 0.0  # of the token taken last: its probability in q
        self.left = q  # [V], not normalised; read only
        self._chance = chance

    def take(self) -> int | None:
        """The next token; None when all are taken."""
        if self._chance is None:
            token = int(self.left.argmax())
            if not self.left[token] > 0:
                return None
        elif not self.left.any():
            return None
        else:
            token = self._chance.draw(self.left)
        if not self.replaced:
            if self.left is self.q:
                self.left = self.q.copy()
            self.left[token] = 0
        self.score = float(self.q[token])
        return token


def shape_of(branches: Sequence[int], room: Room) -> tuple[int, ...]:
    """Parents of the tree in which a node at depth d has branches[d] children, level by level, as far as room is."""
    parents: list[int] = []
    level = [ROOT]
    for count in branches[: room.depth]:
        start = len(parents)
        parents.extend([parent for parent in level for _ in range(count)][: room.nodes - start])
        level = list(range(start, len(parents)))
    return tuple(parents)


def fill(
    draft: Drafted, room: Room, shape: Sequence[int], givers: Callable[[Any, int], Sequence[Giver]], source: str
) -> Growth:
    """Fill a tree of a given shape, level by level; children in the order of their ranks.

    `givers(lines, depth)` makes of the lines for a level what its children, at `depth`, are taken from. Nodes
    beyond the room are left out, and so are those below an end token or a node that had too few tokens to give. Of
    siblings that bear one token the first stands for them all: what is drafted below any of them hangs there.
    """
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(shape[: room.nodes]):
        children.setdefault(parent, []).append(node)
    tree = Tree()
    stands = {ROOT: ROOT}  # a node of the draft -> the node of the tree
    level = [(ROOT, ROOT)] if children else []  # (node of the shape, node of the draft)
    depth = 0
    while level:
        lines = yield [place for _, place in level]
        depth += 1
        below: list[tuple[int, int]] = []
        for (node, above), giver in zip(level, givers(lines, depth), strict=True):
            for child in children[node]:
                token = giver.take()
                if token is None:
                    break
                place = draft.node(token, above)
                grown = add_taken(tree, token, stands[above], giver, source)
                stands.setdefault(place, grown)
                if child in children and depth < room.depth and not draft.ends(token):
                    below.append((child, place))
        level = below
        if level and room.more is not None and not room.more(tree):
            break
    return tree


def urns_of(lines: Sequence[Vector], depth: int, chance: KeyedChance | None, *, replaced: bool = False) -> list[Urn]:
    """What the children at `depth` of the nodes of one level are taken from, each urn with coins of its own."""
    return [
        Urn(line, None if chance is None else chance.at(depth, depth, at), replaced=replaced)
        for at, line in enumerate(lines)
    ]


def add_taken(tree: Tree, token: int, parent: int, giver: Giver, source: str) -> int:
    """Append the token that was taken last; its node."""
    return tree.add(
        token,
        parent,
        source=source,
        score=giver.score,
        proposal=giver.proposal,
        drawn_from=giver.drawn_from,
        belief=giver.belief,
    )


def probabilities(logits: Tensor) -> Vector:
    """Softmax over the last dimension, float64."""
    return np.asarray(logits.double().softmax(-1).cpu().numpy())
