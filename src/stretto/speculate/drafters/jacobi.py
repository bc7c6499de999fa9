"""Jacobi decoding: a block of guesses, each replaced every round by what the target chose after the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Literal, get_args

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability, Want
from ...row import Row
from ...steer.choice import choose
from ...tree import ROOT, Siblings, Tree
from ..chance import DRAFTING, chance_of
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room
from ..iteration import beyond

ENTRIES = (
    Entry(
        name="jacobi-decoding",
        family="speculate",
        source="arXiv 2305.10427 (parallel decoding by Jacobi iteration)",
        parts="jacobi+fixed(15)",
        guarantee=Guarantee.EXACT,
        summary="a block of guesses is iterated until it no longer changes",
        generation="fill",
    ),
    Entry(
        name="jacobi-forcing",
        family="speculate",
        source="arXiv 2512.14681; github.com/hao-ai-lab/JacobiForcing (its inference)",
        parts="jacobi(block=64,blocks=2,pool=4)+fixed(640)",
        guarantee=Guarantee.EXACT,
        number=22,
        needs=("tree windows", "weights tuned on Jacobi trajectories, for its speed"),
        summary="Jacobi blocks with a pseudo block behind and recycled rejected tails; exact for the weights at hand",
        generation="fill",
    ),
)

Start = Literal["random", "repeat"]


@dataclass(frozen=True, slots=True)
class Jacobi(Drafter):
    """Iterate a block of guesses; what follows the accepted ones is what was chosen after the rejected ones, shifted.

    A guess is what the row's own rule chose at its position (steered logits and noise), under the guesses before it:
    as the noise is keyed by the position, it is the final choice as soon as the tokens before it are right. Without
    chance that is the argmax. The guesses of a new block are what was chosen beyond the last block, then `start`.

    Behind the block that commits, up to `blocks` - 1 pseudo blocks are iterated on its guesses; one begins when the
    newest block has settled `ready` of its tokens. With a `pool`, rejected tails are kept, and of those that hold the
    last committed token, what followed it there is tried beside the block.
    """

    block: int = 16  # tokens, the known first one included, ≥ 2
    blocks: int = 1  # at work at once, ≥ 1
    ready: float = 0.85  # share of settled tokens in the newest block at which the next one begins, (0, 1]
    pool: int = 0  # rejected tails that are kept, ≥ 0
    quorum: int = 2  # recycled tails that must fit before any is tried, ≥ 1
    start: Start = "random"  # tokens of a new block: of the prompt, by chance, or the last token repeated

    name: ClassVar[str] = "jacobi"

    def __post_init__(self) -> None:
        if self.block < 2 or self.blocks < 1 or self.pool < 0 or self.quorum < 1:
            raise InvalidRequest(
                f"jacobi(block={self.block}, blocks={self.blocks}, pool={self.pool}, quorum={self.quorum})",
                hint="block >= 2, blocks >= 1, pool >= 0 and quorum >= 1",
            )
        if not 0 < self.ready <= 1:
            raise InvalidRequest(f"jacobi(ready={self.ready})", hint="0 < ready <= 1")
        if self.start not in get_args(Start):
            raise InvalidRequest(f"jacobi(start={self.start})", hint=f"one of {', '.join(get_args(Start))}")

    @property
    def needs(self) -> Ability:
        return Ability.TREE if self.pool else Ability.NONE

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT if self.pool else Siblings.NONE

    def begin(self, context: Context) -> Drafting:
        return JacobiDrafting(self, lambda row: JacobiSession(self, row))


class JacobiDrafting(Drafting):
    """Watches the guesses."""

    want = Want()


class JacobiSession(DraftSession):
    """The blocks of one row."""

    def __init__(self, settings: Jacobi, row: Row) -> None:
        self.settings = settings
        self.row = row
        self.guesses: list[int] = []  # of the tokens after the root
        self.tails: deque[list[int]] = deque(maxlen=settings.pool)  # rejected ones, newest last
        self._ends: list[int] = []  # position of the last token of each block at work
        self._chains: list[list[int]] = [self.guesses]  # what was proposed: the blocks, then recycled tails

    def propose(self, room: Room) -> Tree:
        self._begin_blocks()
        size = self._ends[-1] - self._root
        self._chains = [self.guesses, *self._recycled(size)]
        if len(self._chains) == 1:
            depth = min(size, room.depth, room.nodes)
            return Tree.chain(self.guesses[:depth], source=self.settings.name)
        return level_by_level([chain[:size] for chain in self._chains], room, self.settings.name)

    def advance(self, outcome: Outcome) -> None:
        committed = outcome.committed
        chain = max(self._chains, key=lambda chain: agreeing(chain, committed))  # the first of the best
        told = beyond(self.row, outcome, chain)
        chosen = [] if told is None else choose(told, [self.row.rule.guessing] * len(told)).tokens
        before = chain[len(committed) :]
        self.guesses = [*chosen, *before[len(chosen) :]]
        self._chains = [self.guesses]
        if self.settings.pool and chosen:
            self.tails.append(chosen)
        self._settle(before, chosen)

    def fork(self, row: Row) -> DraftSession:
        copy = JacobiSession(self.settings, row)
        copy.guesses, copy._ends, copy.tails = self.guesses.copy(), self._ends.copy(), self.tails.copy()
        copy._chains = [copy.guesses]
        return copy

    @property
    def _root(self) -> int:
        return len(self.row.history.tokens) - 1

    def _begin_blocks(self) -> None:
        """Begin a block where none is at work, and fill what has no guess yet."""
        if not self._ends:
            self._ends.append(self._root + self.settings.block - 1)
        missing = self._ends[-1] - self._root - len(self.guesses)
        if missing <= 0:
            return
        if self.settings.start == "repeat":
            self.guesses += [self.guesses[-1] if self.guesses else self.row.root] * missing
            return
        history, chance = self.row.history, chance_of(self.row, DRAFTING)
        places = [int(chance.uniform() * history.prompt_length) for _ in range(missing)]
        self.guesses += [history.tokens[place] for place in places]

    def _recycled(self, size: int) -> list[list[int]]:
        """What followed the root in rejected tails, then the block's own guesses; newest first."""
        found: list[list[int]] = []
        for tail in reversed(self.tails):
            if self.row.root in tail:
                suffix = tail[tail.index(self.row.root) + 1 :]
                chain = [*suffix[:size], *self.guesses[len(suffix) :]]
                if suffix and chain != self.guesses and chain not in found:
                    found.append(chain)
        return found if len(found) >= self.settings.quorum else []

    def _settle(self, before: Sequence[int], now: Sequence[int]) -> None:
        """Let finished blocks go, and begin a pseudo block where the newest is nearly settled.

        `before` and `now` are the guesses after the root.
        """
        root, size = self._root, self.settings.block
        self._ends = [end for end in self._ends if end > root]
        if not self._ends or len(self._ends) >= self.settings.blocks:
            return
        first = self._ends[-1] - size + 1  # position of the newest block's first token
        second = first - root  # index of its second token's guess
        settled = root - first + 1 if first <= root else 1 + agreeing(before[second:], now[second:])
        if settled >= ceil(self.settings.ready * size):
            self._ends.append(self._ends[-1] + size)


def agreeing(left: Sequence[int], right: Sequence[int]) -> int:
    """How many first tokens two sequences share."""
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


def level_by_level(chains: Sequence[Sequence[int]], room: Room, source: str) -> Tree:
    """One tree that holds the chains as paths; in a small room all of them are cut at about the same depth."""
    tree = Tree()
    at: dict[tuple[int, int], int] = {}
    parents = [ROOT] * len(chains)
    for depth in range(min(room.depth, max(map(len, chains)))):
        for index, chain in enumerate(chains):
            if depth >= len(chain):
                continue
            place = (parents[index], chain[depth])
            if place not in at:
                if len(tree) == room.nodes:
                    return tree
                at[place] = tree.add(chain[depth], parents[index], source=source)
            parents[index] = at[place]
    return tree
