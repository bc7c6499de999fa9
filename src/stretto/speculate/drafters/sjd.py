"""Speculative Jacobi decoding: a window of drafts, each drawn from what the target said at its position last round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Want
from ...row import Row
from ...steer.choice import choose
from ...tree import NodeKind, Tree
from ..chance import DRAFTING, Chance, Vector, chance_of
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room
from ..iteration import beyond

ENTRY = Entry(
    name="speculative-jacobi",
    family="speculate",
    source="arXiv 2410.01699; github.com/tyshiwo1/Accelerating-T2I-AR-with-SJD",
    parts="sjd+rejection+fixed(16)",
    guarantee=Guarantee.DISTRIBUTION,
    number=48,
    summary="Jacobi iteration for sampling: a draft is drawn from what the target said last round",
    generation="fill",
)

Start = Literal["random", "repeat"]


@dataclass(frozen=True, slots=True)
class SpeculativeJacobi(Drafter):
    """Draw each draft from the target's steered distribution at its position in the round before.

    That distribution, under the drafts of then, is the one a drawn node carries; the acceptor compares it with the
    distribution of now. Positions not seen yet are guessed without the target: a token of the vocabulary by chance, or
    the last one repeated. At temperature 0 the drafts are the argmax: greedy Jacobi decoding.

    With `after`, drafting begins `delay` tokens behind that token and ends `span` tokens behind it, as for the image
    in a text; `lowest` and `highest` bound the random guesses, as to the image's tokens.
    """

    window: int = 16  # drafts, ≥ 1
    start: Start = "random"  # guesses at new positions: of the vocabulary by chance, or the last token repeated
    lowest: int = 0  # smallest token id of random guesses
    highest: int = -1  # largest; -1: the vocabulary's
    after: int = -1  # draft only after this token; -1: everywhere
    delay: int = 3  # tokens between `after` and the first draft, ≥ 0
    span: int = 0  # tokens after `after` in which to draft; 0: without end

    name: ClassVar[str] = "sjd"
    proposals: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.SAMPLED, NodeKind.POINT})

    def __post_init__(self) -> None:
        if self.window < 1 or self.delay < 0 or self.span < 0:
            raise InvalidRequest(
                f"sjd(window={self.window}, delay={self.delay}, span={self.span})",
                hint="window >= 1, delay >= 0 and span >= 0",
            )
        if self.start not in get_args(Start):
            raise InvalidRequest(f"sjd(start={self.start})", hint=f"one of {', '.join(get_args(Start))}")
        if self.lowest < 0 or -1 < self.highest < self.lowest:
            raise InvalidRequest(
                f"sjd(lowest={self.lowest}, highest={self.highest})", hint="0 <= lowest <= highest, or highest = -1"
            )

    def begin(self, context: Context) -> Drafting:
        vocabulary = context.vocabulary
        if max(self.lowest, self.highest) >= vocabulary:
            raise InvalidRequest(
                f"sjd guesses tokens {self.lowest} to {self.highest}", hint=f"ids run from 0 to {vocabulary - 1}"
            )
        highest = vocabulary - 1 if self.highest < 0 else self.highest
        return SpeculativeJacobiDrafting(self, lambda row: SpeculativeJacobiSession(self, row, highest))


class SpeculativeJacobiDrafting(Drafting):
    """Watches the drafts."""

    want = Want()


class SpeculativeJacobiSession(DraftSession):
    """What the target said last round about the positions after the root of one row."""

    def __init__(
        self, settings: SpeculativeJacobi, row: Row, highest: int, chance: Callable[[Row, int], Chance] = chance_of
    ) -> None:
        self.settings = settings
        self.row = row
        self.highest = highest
        self.chance = chance  # the coins of a round
        self.ahead: list[Vector] = []  # probabilities [V] of the tokens after the root, float64, never written to
        self._drafts: list[int] = []  # proposed last
        self._read = 0  # tokens that were looked through for `after`
        self._began = -1  # position of the newest of them; -1: none yet

    def propose(self, room: Room) -> Tree:
        tree = Tree()
        if self._active():
            chance = self.chance(self.row, DRAFTING)
            for depth in range(min(room.nodes, room.depth, self.settings.window)):
                self._draft(tree, depth, chance)
        self._drafts = tree.tokens
        return tree

    def advance(self, outcome: Outcome) -> None:
        start = len(outcome.committed)
        told = self._told(outcome)
        self.ahead = [*told, *self.ahead[start + len(told) :]]
        self._drafts = []

    def fork(self, row: Row) -> DraftSession:
        copy = SpeculativeJacobiSession(self.settings, row, self.highest, self.chance)
        copy.ahead = self.ahead.copy()
        copy._read, copy._began = self._read, self._began
        return copy

    def _draft(self, tree: Tree, depth: int, chance: Chance) -> None:
        """Add one node. Its score must not depend on the token drawn: trimming by it would bias the output."""
        parent, name = depth - 1, self.settings.name
        if depth < len(self.ahead):
            told = self.ahead[depth]
            if self.row.rule.pipeline.greedy:
                tree.add(int(told.argmax()), parent, source=name)
            else:
                token = chance.at(depth + 1, depth + 1).draw(told)
                tree.add(token, parent, source=name, proposal=NodeKind.SAMPLED, drawn_from=told)
        elif self.settings.start == "repeat":
            tree.add(tree.tokens[-1] if len(tree) else self.row.root, parent, source=name)
        else:
            guesses = np.ones(self.highest - self.settings.lowest + 1)
            tree.add(self.settings.lowest + chance.at(depth + 1, depth + 1).draw(guesses), parent, source=name)

    def _told(self, outcome: Outcome) -> list[Vector]:
        """The steered distributions that the target gave of the tokens after the new root."""
        found = beyond(self.row, outcome, self._drafts)
        if found is None:
            return []
        rule = self.row.rule.guessing
        if rule.pipeline.greedy:
            certain = np.zeros(tuple(found.raw.shape))
            certain[range(len(found)), choose(found, [rule] * len(found)).tokens] = 1.0
            return list(certain)
        return list(rule.pipeline(found).double().softmax(-1).cpu().numpy())

    def _active(self) -> bool:
        """Whether the token to come is one to draft."""
        settings, tokens = self.settings, self.row.history.tokens
        if settings.after < 0:
            return True
        for position in range(self._read, len(tokens)):
            if tokens[position] == settings.after:
                self._began = position
        self._read = len(tokens)
        behind = len(tokens) - 1 - self._began
        return self._began >= 0 and behind >= settings.delay and (not settings.span or behind < settings.span)
