"""SmartSpec: draft lengths of greatest goodput for the batch, none where the machine is busy enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...row import Row
from ...tree import Tree
from ..contract import NO_ROOM, Drafting, Outcome, Planner, Planning, Room
from ..economy.acceptance import Rate, trials
from ..economy.decision import Price
from ..economy.pruning import holds_draws, keep_best, reaches

REFIT = 16  # rounds between two fits of the latency model
WINDOW = 64  # rounds that a fit sees

ENTRY = Entry(
    name="smartspec",
    family="speculate",
    source="arXiv 2406.14066",
    parts="draft+smartspec",
    guarantee=Guarantee.EXACT,
    number=258,
    needs=("draft model",),
    summary="draft lengths per row that maximise the batch's goodput; none under load",
    system="batched serving",
)


@dataclass(frozen=True, slots=True)
class SmartSpec(Planner):
    """Maximise goodput: expected committed tokens, over all rows, per second of a round.

    A row that drafts k tokens of acceptance a commits 1 + a + … + a^k on average. Rows are padded to the longest, so
    a round is verified in the time of its longest row; each drafted token costs what it took of late. For every
    longest length the tokens of greatest marginal gain are taken while goodput rises. A row whose acceptance was
    not seen for `probe` rounds drafts one token.
    """

    most: int = 8  # tokens per row, ≥ 1
    acceptance: float = 0.7  # believed before any was seen, [0, 1]
    fade: float = 0.95  # weight of the past at each new observation of a row's acceptance, (0, 1]
    probe: int = 32  # rounds, ≥ 1
    online: bool = False  # fit the latency to the rounds of this decode; else the clock tells it

    name: ClassVar[str] = "smartspec"

    def __post_init__(self) -> None:
        if self.most < 1 or self.probe < 1:
            raise InvalidRequest(f"smartspec({self.most}, probe={self.probe})", hint="most >= 1 and probe >= 1")
        if not 0 <= self.acceptance <= 1 or not 0 < self.fade <= 1:
            raise InvalidRequest(
                f"smartspec(acceptance={self.acceptance}, fade={self.fade})",
                hint="0 <= acceptance <= 1 and 0 < fade <= 1",
            )

    def begin(self, context: Context, drafting: Drafting) -> Planning:
        shared = context.remembered(Shared, (self, drafting.identity), lambda: Shared(Rate(2 * self.acceptance, 2.0)))
        return SmartSpecPlanning(self, context, drafting, shared)


@dataclass(slots=True)
class Shared:
    """What was learnt about one drafter over all rows."""

    rate: Rate  # where new rows begin
    node: Price = field(default_factory=Price)  # of drafting a token


@dataclass(slots=True)
class Belief:
    """What is known of one row."""

    rate: Rate
    unseen: int = 0  # rounds since a draft of it was judged


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of a forward: `per_context` · tokens read + `per_token` · tokens processed + `start`."""

    per_context: float
    per_token: float
    start: float

    def seconds(self, context: float, tokens: float) -> float:
        """Of a forward over so many tokens, with so many in the caches."""
        return self.per_context * context + self.per_token * tokens + self.start

    @classmethod
    def fit(cls, rounds: Iterable[tuple[float, float, float]]) -> Latency | None:
        """Least squares over (context, tokens, seconds); None where they do not tell the coefficients apart."""
        table = np.array(list(rounds), dtype=np.float64).reshape(-1, 3)
        design = np.column_stack([table[:, :2], np.ones(len(table))])
        scale = np.abs(design).max(axis=0, initial=1e-30)
        found, _, rank, _ = np.linalg.lstsq(design / scale, table[:, 2], rcond=1e-6)
        return cls(*(found / scale).tolist()) if rank == 3 else None


def best_lengths(
    rates: Sequence[float], limits: Sequence[int], verify: Callable[[int], float], node_seconds: float
) -> list[int]:
    """The draft length of each row, at most its limit, for the greatest goodput.

    `verify(k)` is what a round takes whose longest row drafts k tokens, `node_seconds` what drafting one takes.
    """
    steps = sorted(
        ((rate ** (at + 1), -at, row) for row, rate in enumerate(rates) for at in range(limits[row])), reverse=True
    )
    best, best_goodput = [0] * len(rates), len(rates) / verify(0)
    for longest in range(1, max(limits, default=0) + 1):
        lengths, expected, taken = [0] * len(rates), float(len(rates)), verify(longest)
        for gain, negative, row in steps:
            if -negative >= longest:
                continue
            if (expected + gain) * taken < expected * (taken + node_seconds):
                break  # no later step gains more
            expected, taken = expected + gain, taken + node_seconds
            lengths[row] += 1
        if expected / taken > best_goodput:
            best, best_goodput = lengths, expected / taken
    return best


class SmartSpecPlanning(Planning):
    """The goodput model at work."""

    def __init__(
        self,
        settings: SmartSpec,
        context: Context,
        drafting: Drafting,
        shared: Shared,
        now: Callable[[], float] = perf_counter,  # seconds
    ) -> None:
        self._settings = settings
        self._clock = context.clock
        self._free = drafting.free
        self._shared = shared
        self._now = now
        self._beliefs: dict[Row, Belief] = {}
        self._drafted: set[Row] = set()  # rows that were drafted for
        self._spent: list[float] | None = []  # per token, a row each; None: the drafter read a prompt in this round
        self._rounds: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)  # (context, tokens, seconds)
        self._since = 0  # rounds since the last fit
        self._latency: Latency | None = None
        self._running: tuple[float, float, float] | None = None  # (context, tokens, begun) of the round that runs

    def rooms(self, rows: Sequence[Row]) -> list[Room]:
        if len(self._beliefs) > len(rows):  # rows have left
            self._beliefs = {row: self._beliefs[row] for row in rows if row in self._beliefs}
        self._settle()
        self._drafted.intersection_update(rows)
        most = self._settings.most
        lengths = [most] * len(rows) if self._free else self._lengths(rows, [most] * len(rows))
        return [Room(length, length) if length else NO_ROOM for length in lengths]

    def trim(self, rows: Sequence[Row], trees: list[Tree]) -> list[Tree]:
        if self._free and any(map(len, trees)) and not any(map(holds_draws, trees)):
            lengths = self._lengths(rows, [len(tree) for tree in trees])
            trees = [keep_best(tree, reaches(tree), length) for tree, length in zip(trees, lengths, strict=True)]
        if self._settings.online:
            context = sum(len(row.history.tokens) for row in rows)
            self._running = (context, len(rows) * (1 + max(map(len, trees))), self._now())
        return trees

    def estimate(self, row: Row, tree: Tree) -> list[float]:
        return reaches(tree)

    def learn(self, row: Row, proposed: Tree, outcome: Outcome, draft_seconds: float) -> None:
        if self._running is not None:  # the first row to learn: the forward is done
            context, tokens, begun = self._running
            self._rounds.append((context, tokens, self._now() - begun))
            self._running = None
            self._refit()
        belief = self.belief(row)
        belief.unseen += 1
        for _, right in trials(proposed, outcome.committed):
            belief.unseen = 0
            belief.rate.add(right is not None, self._settings.fade)
            self._shared.rate.add(right is not None, self._settings.fade)
        if not self._free and len(proposed):
            if row not in self._drafted:
                self._spent = None
            elif self._spent is not None:
                self._spent.append(draft_seconds / len(proposed))
            self._drafted.add(row)

    def _settle(self) -> None:
        """The last round is over: what did a drafted token take?"""
        if self._spent:
            self._shared.node.add(sum(self._spent) / len(self._spent))
        self._spent = []

    def belief(self, row: Row) -> Belief:
        """What is known of a row; a new one is like all rows so far."""
        if row not in self._beliefs:
            rate = self._shared.rate
            self._beliefs[row] = Belief(Rate(rate.value, 1.0))
        return self._beliefs[row]

    def _lengths(self, rows: Sequence[Row], limits: Sequence[int]) -> list[int]:
        beliefs = [self.belief(row) for row in rows]
        context = sum(len(row.history.tokens) for row in rows) if self._latency else 0
        costs = [self._verify(longest, len(rows), context) for longest in range(max(limits) + 1)]
        node_seconds = 0.0 if self._free else self._shared.node.seconds or 0.0
        lengths = best_lengths([belief.rate.value for belief in beliefs], limits, costs.__getitem__, node_seconds)
        due = [
            not length and belief.unseen >= self._settings.probe
            for length, belief in zip(lengths, beliefs, strict=True)
        ]
        return [min(1, limit) if tried else length for tried, limit, length in zip(due, limits, lengths, strict=True)]

    def _verify(self, longest: int, rows: int, context: int) -> float:
        """Seconds of a forward whose longest row drafts so many tokens."""
        if self._latency is None:
            return self._clock.cost(1 + longest, rows)
        return self._latency.seconds(context, rows * (1 + longest))

    def _refit(self) -> None:
        self._since += 1
        if self._since >= REFIT:
            self._since = 0
            found = Latency.fit(self._rounds)
            if found is not None and min(found.per_context, found.per_token) >= 0 < found.start:
                self._latency = found  # else noise: what was known stays
