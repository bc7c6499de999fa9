"""Thompson sampling of the draft length: after each token, does a coin of the believed acceptance rate say "on"?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...noise import key, split
from ...row import Row
from ...tree import Tree
from ..contract import NO_ROOM, Drafting, Outcome, Planner, Planning, Room
from ..economy.acceptance import trials

PLANNING = (1 << 40) + 64  # a purpose of coins: draws that neither drafters nor acceptors make

ENTRY = Entry(
    name="thompson",
    family="speculate",
    source="arXiv 2406.03853 (EESD: the control by Thompson sampling; its drafter is another part)",
    parts="draft+thompson",
    guarantee=Guarantee.EXACT,
    needs=("draft model",),
    summary="a Beta-Bernoulli bandit per row decides after each drafted token whether to go on",
)


@dataclass(frozen=True, slots=True)
class Thompson(Planner):
    """Before each token: draw a rate from the posterior Beta(accepted, rejected), toss a coin of that rate.

    The posterior belongs to the row. It counts accepted tokens and first rejections only: what stood behind a
    rejection was never judged. The coins are the row's own, keyed by its seed, stream and position, and speak of
    nothing but the length.
    """

    most: int = 16  # tokens, ≥ 1
    fade: float = 0.98  # weight of the past after each round, (0, 1]; 1: a text that never changes
    accepted: float = 1.0  # of the prior, > 0 (the published prior is not confirmed)
    rejected: float = 1.0  # of the prior, > 0
    width: int = 1  # nodes per token of length, for drafters of trees, ≥ 1
    keep: bool = False  # begin a row with what the last rows of this drafter ended with

    name: ClassVar[str] = "thompson"

    def __post_init__(self) -> None:
        if self.most < 1 or self.width < 1:
            raise InvalidRequest(f"thompson({self.most}, width={self.width})", hint="most >= 1 and width >= 1")
        if not 0 < self.fade <= 1:
            raise InvalidRequest(f"thompson(fade={self.fade})", hint="0 < fade <= 1")
        if self.accepted <= 0 or self.rejected <= 0:
            raise InvalidRequest(f"thompson(accepted={self.accepted}, rejected={self.rejected})", hint="both above 0")

    @property
    def repeats(self) -> bool:
        return not self.keep

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        last = context.remembered(Posterior, (self, drafting.identity), lambda: Posterior(self.accepted, self.rejected))
        return ThompsonPlanning(self, last)


@dataclass(slots=True)
class Posterior:
    """Beta distribution of a row's acceptance rate."""

    accepted: float
    rejected: float

    @property
    def mean(self) -> float:
        """The expected rate."""
        return self.accepted / (self.accepted + self.rejected)


class ThompsonPlanning(Planning):
    """The bandits of all rows."""

    def __init__(self, settings: Thompson, last: Posterior) -> None:
        self._settings = settings
        self._last = last
        self._posteriors: dict[Row, Posterior] = {}

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        if len(self._posteriors) > len(rows):  # rows have left
            self._posteriors = {row: self._posteriors[row] for row in rows if row in self._posteriors}
        return [self._room(row) for row in rows]

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        settings = self._settings
        belief = self.posterior(row)
        judged = list(trials(proposed, outcome.committed))
        if not judged:
            return
        hits = sum(right is not None for _, right in judged)
        for name, seen, prior in (
            ("accepted", hits, settings.accepted),
            ("rejected", len(judged) - hits, settings.rejected),
        ):
            # what fades is what was seen, never the prior: the posterior stays proper
            setattr(belief, name, prior + settings.fade * (getattr(belief, name) - prior) + seen)
        if settings.keep:
            self._last.accepted, self._last.rejected = belief.accepted, belief.rejected

    def posterior(self, row: Row) -> Posterior:
        """What is believed of a row's acceptance; of a new one, the prior, or where the last rows ended."""
        if row not in self._posteriors:
            first = self._last if self._settings.keep else self._settings
            self._posteriors[row] = Posterior(first.accepted, first.rejected)
        return self._posteriors[row]

    def _room(self, row: Row) -> Room:
        belief, settings = self.posterior(row), self._settings
        rule = row.rule
        coins = random.Random(split(key(rule.seed, rule.stream, len(row.history.tokens)), PLANNING))
        length = 0
        while length < settings.most and coins.random() < coins.betavariate(belief.accepted, belief.rejected):
            length += 1
        return Room(length * settings.width, length) if length else NO_ROOM
