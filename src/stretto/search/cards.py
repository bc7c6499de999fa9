"""Cascade reward sampling: a segment is drawn, and stays or is drawn again by what a scorer says of the text so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from ..annotations import Unbounded
from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Model
from ..row import Row
from ..speculate.chance import KeyedChance
from ..speculate.contract import Verdict
from ..steer.pipeline import Pipeline
from ..tree import ROOT
from .branches import Branches, entropies
from .contract import Branch, Group, Heir, Search, Searching
from .scorer import Judged, Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmenters import Every
from .unsure import walk
from .within import UNBOUNDED, Within

if TYPE_CHECKING:
    from ..speculate.target import Target

ENTRY = Entry(
    name="cards",
    number=104,
    family="search",
    source="arXiv 2406.16306 (cascade reward sampling); code github.com/lblaoke/CARDS",
    parts="cards",
    guarantee=Guarantee.APPROXIMATE,
    summary="segments that end where the model is unsure are drawn until a reward of the text so far lets one pass",
)

PASSING = (1 << 40) + 6  # beyond all token ids: draws no one else makes


@dataclass(frozen=True, slots=True)
class Cards(Search):
    """A segment of reward r passes with probability min(1, exp((r - τ) / beta)); else it is drawn again.

    It ends before a place where what the model says has an entropy of `nats` or more, once it has `least` tokens; else
    after `most` of them, or with the answer. τ grows with the text, from (1 - share) · r(prompt) + share · goal to
    `goal` at the most tokens that the answer may have. After `tries` draws the best one passes. One try is plain
    decoding, and so is an endless beta.
    """

    scorer: Scorer = LIKELIHOOD  # of beginnings
    goal: float = 0.0  # what it says of a good answer: look at what it says of some
    beta: Unbounded = 0.7  # ≥ 0, in units of the scorer; 0: a segment passes where r ≥ τ, and never else
    share: float = 0.5  # 0 to 1, of the goal in the first threshold. Published: .5
    tries: int = 20  # ≥ 1, draws of a segment at most. Published: 20
    nats: Unbounded = 3.0  # ≥ 0. Published: 3
    least: int = 4  # ≥ 1, tokens of a segment that ends where the model is unsure. Published: 4
    most: int = 64  # ≥ 1, tokens of a segment. Published: 64
    within: Within = UNBOUNDED

    name: ClassVar[str] = "cards"

    def __post_init__(self) -> None:
        if min(self.tries, self.least, self.most) < 1 or not 0 <= self.share <= 1:
            raise InvalidRequest(
                f"{self.tries} tries of {self.least} to {self.most} tokens, share {self.share}",
                hint="at least 1 each; from 0 to 1",
            )
        if not self.beta >= 0 or not self.nats >= 0:
            raise InvalidRequest(f"beta {self.beta}, {self.nats} nats", hint="numbers from 0")

    @property
    def hears(self) -> bool:
        return self.scorer.hears

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if pipeline.greedy:
            raise Unsupported(f"{self.name} draws its segments, and without chance all are one", hint="temperature=1")

    def rows(self, samples: int) -> int:
        return 4 * samples  # what is drawn, where it may end, where it began, and the best end so far

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Passing(self, context, branches)

    def threshold(self, prompt: float, length: int, span: int) -> float:
        """What a text of so many tokens is measured by, of `span` at most, by the reward of the prompt alone."""
        first = (1 - self.share) * prompt + self.share * self.goal
        return min(first + length * (self.goal - first) / span, self.goal)

    def chance(self, reward: float, threshold: float) -> float:
        """How probable it is that a segment passes."""
        if reward >= threshold or not self.beta:
            return float(reward >= threshold)
        return math.exp((reward - threshold) / self.beta)


@dataclass(slots=True, eq=False)
class Ended(Branch):
    """An answer up to where a segment ends. Its row waits there; without one the answer has ended."""

    stream: int = 0  # of noise, that the segment was drawn with


@dataclass(slots=True, eq=False)
class Attempt(Branch):
    """A segment that is being drawn, with all tokens before it."""

    start: int = 0  # tokens before it
    stream: int = 0
    stand: Row | None = None  # where the row stood before this round, if the segment may end there
    unsure: bool = False  # whether it does: the newest token is the next segment's


@dataclass(slots=True, eq=False)
class Path(Branch):
    """An answer: its own tokens have passed."""

    attempt: Attempt = field(kw_only=True)
    start: Row | None = None  # waits where its own tokens end
    best: Ended | None = None  # of the segments that did not pass
    tried: int = 0  # how many these are
    draws: int = 0  # segments with a stream of their own
    over: bool = False

    @property
    def rows(self) -> list[Row]:
        """All that it holds."""
        best = None if self.best is None else self.best.row
        return [row for row in (self.start, best, self.attempt.stand, self.attempt.row) if row is not None]


class Passing(Searching):
    """Cascade reward sampling at work."""

    def __init__(self, search: Cards, context: Context, branches: Branches) -> None:
        self.search, self.branches = search, branches
        self.judged = Judged(search.scorer, context)

    def grow(self, groups: Sequence[Group]) -> None:
        for group in groups:
            if not group.streams:
                (group.plan,) = self.judged.values(group, [Branch()], whole=False)
                group.streams = group.wanted
                rows = self.branches.spread(group.first, group)
                group.alive = [
                    Path(number=at, start=self.branches.stand(row), attempt=self._attempt(row))
                    for at, row in enumerate(rows)
                ]
            for attempt in [path.attempt for path in _paths(group)]:
                if attempt.row is not None and len(attempt.tokens) - attempt.start >= self.search.least:
                    attempt.stand = self.branches.stand(attempt.row)

    def _attempt(self, row: Row) -> Attempt:
        """Let a row draw a segment."""
        row.segment = Every(self.search.most).open(None)
        attempt = Attempt(row=row, start=len(row.new_tokens), stream=row.rule.stream)
        attempt.catch_up()
        return attempt

    def choose(self, group: Group, target: Target, places: Mapping[Row, int]) -> list[Heir]:
        heirs = list[Heir]()
        for attempt in [path.attempt for path in _paths(group)]:
            if (row := attempt.row) is not None and row in places:
                at, ends = places[row], partial(self._ends, attempt, target, places[row])
                attempt.unsure = ends(ROOT)
                own = Verdict([], target.choose([(at, ROOT)])[0]) if attempt.unsure else walk(target, at, ends)
                heirs.append(Heir(attempt, row, own))
        return heirs

    def _ends(self, attempt: Attempt, target: Target, at: int, node: int) -> bool:
        """Whether a segment ends with a node, as the model is unsure of what follows."""
        size = len(attempt.tokens) - attempt.start + len(target.trees[at].path_tokens(node))
        return size >= self.search.least and entropies(target.raw(at, node)[None])[0] >= self.search.nats

    def settle(self, group: Group) -> None:
        paths = _paths(group)
        for path in paths:
            attempt = path.attempt
            attempt.catch_up()
            if attempt.stand is not None and not attempt.unsure:
                self.branches.remove(attempt.stand)
                attempt.stand = None
            while not path.over and (ended := self._ended(path.attempt)) is not None:
                self._judge(group, path, ended)
        if all(path.over for path in paths):
            group.finished, group.alive, group.ended = list(paths), [], True

    def _ended(self, attempt: Attempt) -> Ended | None:
        """What was drawn, if a segment has ended."""
        row = attempt.stand if attempt.unsure else attempt.row
        if row is not None and not row.paused:
            return None
        end = len(attempt.tokens) - attempt.unsure
        parts = attempt.tokens[:end], attempt.reports[:end], attempt.sources[:end]
        return Ended(parts[0], reports=parts[1], sources=parts[2], row=row, stream=attempt.stream)

    def _judge(self, group: Group, path: Path, ended: Ended) -> None:
        """A segment passes, or another one is drawn."""
        held, first = path.rows, group.first
        (ended.worth,) = self.judged.values(group, [ended], whole=ended.row is None)
        threshold = self.search.threshold(group.plan, len(ended.tokens), first.limits.new_tokens)
        coin = KeyedChance(replace(first.rule, stream=ended.stream), len(path.tokens), PASSING)
        if coin.accept(self.search.chance(ended.worth, threshold)):
            self._pass(path, ended)
        else:
            path.tried += 1
            if path.best is None or ended.worth > path.best.worth:
                path.best = ended
            if path.tried == self.search.tries:
                self._pass(path, path.best)
            else:
                assert path.start is not None, "only an answer that has ended has none"
                path.draws += 1
                path.attempt = self._attempt(self.branches.sprout(path.start, path.number + (path.draws << 32)))
        for row in held:
            if row not in path.rows:
                self.branches.remove(row)

    def _pass(self, path: Path, passed: Ended) -> None:
        """A segment stays. The next one has begun where the row has gone on; else it begins where the segment ended."""
        attempt = path.attempt
        path.tokens, path.reports, path.sources = passed.tokens, passed.reports, passed.sources
        path.start, path.best, path.tried, path.over = passed.row, None, 0, passed.row is None
        if passed.row is None:
            path.attempt = Attempt()
        elif passed.row is not attempt.stand:
            path.attempt = self._attempt(self.branches.sprout(passed.row, passed.stream))
        else:
            attempt.stand, attempt.unsure, attempt.start = None, False, len(path.tokens)
            if attempt.row is None:
                return
            segment = Every(self.search.most).open(None)
            attempt.row.segment, attempt.row.paused = segment, segment.push(attempt.tokens[-1])


def _paths(group: Group) -> list[Path]:
    return [branch for branch in group.alive if isinstance(branch, Path)]
