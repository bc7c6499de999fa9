"""Searches that go one way to each answer, and where the model is unsure try several ways on, of which one stays.

A place is unsure by the entropy of what may follow. Ways on are rows: they begin with the likeliest tokens, or each
with a draw of its own, and go on to the end of a segment. Then the one stays whose tokens are likeliest on average.
Settings tell published searches apart: how many ways an entropy is worth, and whether all of the best way stays.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ..context import Context
from ..generation import LogProbability
from ..noise import key
from ..row import Row
from ..speculate.contract import Verdict
from ..steer.choice import draw_few
from ..tree import ROOT
from .branches import Branches, entropies
from .contract import Branch, Group, Heir, Search, Searching
from .ranking import likeliest
from .segmenter import Segment
from .segmenters import AtPattern

if TYPE_CHECKING:
    from ..speculate.target import Target


class Unsure(Search):
    """What such searches have in common. At temperature 0 ways begin with the likeliest tokens, else with draws."""

    until: str  # a way ends with the token that completes a match of this regular expression in its text
    far: int  # ≥ 1, tokens of a way at most
    by: Literal["steered", "raw"] = "steered"  # log-probabilities that ways are compared by
    hears: ClassVar[bool] = True  # the log-probabilities of its ways

    steered: ClassVar[bool] = True  # whether the entropy is that of what is chosen from, or of what the model said
    whole: ClassVar[bool] = True  # whether all of the best way stays, or what comes before its next unsure place

    @abstractmethod
    def ways(self, nats: float) -> int:
        """How many ways on are tried from a place of so much entropy; 1: none but the one that is gone anyway."""

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Trying(self, context, branches)

    def mean(self, said: Sequence[LogProbability]) -> float:
        """What a way of these tokens is worth: the natural logarithm of 1 / perplexity."""
        return sum(each.steered if self.by == "steered" else each.raw for each in said) / len(said)


@dataclass(slots=True, eq=False)
class Way(Branch):
    """A text that begins with an answer's settled tokens, and goes on in one of several ways."""

    start: int = 0  # tokens before those that are tried
    stream: int | None = None  # of noise, where it is not that of the row that it forked from
    aside: list[Way] = field(default_factory=list)  # the other ways from unsure places of this one; they wait


@dataclass(slots=True, eq=False)
class Path(Branch):
    """An answer: its own tokens are those that stay."""

    ways: list[Way] = field(default_factory=list)  # one where the model is sure
    tried: int = 0  # draws with a stream of their own
    over: bool = False


class Trying(Searching):
    """Such a search at work."""

    def __init__(self, search: Unsure, context: Context, branches: Branches) -> None:
        self.search, self.branches, self.decode = search, branches, context.decode

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if not group.streams):
            group.streams = 1 if group.first.rule.pipeline.greedy else group.wanted  # without chance all are one
            rows = self.branches.spread(group.first, group)
            group.alive = [Path(number=at, ways=[Way(row=row)]) for at, row in enumerate(rows)]

    def choose(self, group: Group, target: Target, places: Mapping[Row, int]) -> list[Heir]:
        heirs: list[Heir] = []
        for path in _paths(group):
            for way in list(path.ways):
                if (row := way.row) in places and row is not None:
                    heirs += self._follow(path, way, row, target, places[row])
        return heirs

    def _follow(self, path: Path, way: Way, row: Row, target: Target, at: int) -> list[Heir]:
        """What becomes of a way in this round: it goes on, with others beside it where the model is unsure."""
        trying = len(path.ways) > 1
        looks = not (trying and self.search.whole)
        others = self._others(path, way, row, target, at) if looks else []
        if others and not trying:
            way.start, path.ways = len(way.tokens), [way, *others]
            own = Verdict([], target.choose([(at, ROOT)])[0])
        else:
            way.aside += others
            own = walk(target, at, lambda node: looks and self._count(target, at, node) > 1)
        tokens = [self._token(other, row, target, at, place) for place, other in enumerate(others, 1)]
        return [
            Heir(way, row, own),
            *(Heir(other, row, Verdict([], token)) for other, token in zip(others, tokens, strict=True)),
        ]

    def _count(self, target: Target, at: int, node: int) -> int:
        """How many ways on are tried after a node."""
        said = target.steered(at, node) if self.search.steered else target.raw(at, node)
        return self.search.ways(*entropies(said[None]))

    def _others(self, path: Path, way: Way, row: Row, target: Target, at: int) -> list[Way]:
        """The ways from where a row stands, but the one that it goes itself."""
        count = self._count(target, at, ROOT)
        if row.rule.pipeline.greedy:
            count = min(count, int((target.steered(at, ROOT) > -torch.inf).sum()))
            return [Way(start=len(way.tokens)) for _ in range(1, count)]
        first = path.tried + 1
        path.tried += count - 1
        streams = [path.number + (attempt << 32) for attempt in range(first, first + count - 1)]
        return [Way(start=len(way.tokens), stream=stream) for stream in streams]

    def _token(self, other: Way, row: Row, target: Target, at: int, place: int) -> int:
        """What another way begins with: a draw of its own, or the token of that place among the likeliest."""
        weights = target.steered(at, ROOT)
        if other.stream is None:
            return int(likeliest(weights.double()[None], place + 1)[1][0, place])
        coin = key(row.rule.seed, other.stream, len(row.history.tokens))
        return int(draw_few(weights[None], torch.tensor([coin], device=weights.device))[0])

    def settle(self, group: Group) -> None:
        for path in _paths(group):
            if not path.over:
                self._settle(path)
        if all(path.over for path in _paths(group)):
            group.finished, group.alive, group.ended = list(group.alive), [], True

    def _settle(self, path: Path) -> None:
        for way in path.ways:
            way.catch_up()
            for other in [other for other in way.aside if other.row is not None and not other.row.paused]:
                other.catch_up()
                if other.row is not None:
                    other.row.paused = True
            if len(path.ways) > 1 and way.row is not None and way.row.segment is None:
                self._set_out(way, way.row)
        while len(path.ways) > 1 and all(way.row is None or way.row.paused for way in path.ways):
            self._decide(path)
        way, trying = path.ways[0], len(path.ways) > 1
        end = way.start if trying else len(way.tokens)
        path.tokens, path.reports, path.sources = way.tokens[:end], way.reports[:end], way.sources[:end]
        path.over = not trying and way.row is None

    def _set_out(self, way: Way, row: Row) -> None:
        """Let a way go on until its segment ends, of which it may have some tokens already."""
        if way.stream is not None:
            row.rule = replace(row.rule, stream=way.stream)
        row.segment = Bounded(AtPattern(self.search.until).open(self.decode), self.search.far)
        row.paused = any(row.segment.push(token) for token in way.tokens[way.start :])

    def _decide(self, path: Path) -> None:
        """The best way stays; the others go, and it goes on, or is one of several from its next unsure place."""
        best = max(path.ways, key=lambda way: self.search.mean(way.reports[way.start :]))
        gone = [way for way in path.ways if way is not best]
        for row in [each.row for way in gone for each in (way, *way.aside) if each.row is not None]:
            self.branches.remove(row)
        path.ways = [best]
        if best.aside:
            best.start = min(other.start for other in best.aside)
            path.ways += [other for other in best.aside if other.start == best.start]
            best.aside = [other for other in best.aside if other.start > best.start]
            for way in path.ways:
                if way.row is not None:
                    self._set_out(way, way.row)
        elif best.row is not None:
            best.row.segment, best.row.paused = None, False


@dataclass(slots=True)
class Bounded(Segment):
    """A segment of so many tokens at most."""

    segment: Segment
    left: int

    def push(self, token: int) -> bool:
        self.left -= 1
        return self.segment.push(token) or self.left == 0


def walk(target: Target, at: int, stops: Callable[[int], bool]) -> Verdict:
    """Down a tree by the rule of choice, to the first node behind which it stops, or as far as was drafted."""
    path, node = list[int](), ROOT
    while True:
        (token,) = target.choose([(at, node)])
        child = target.trees[at].child_bearing(node, token)
        if child is None or stops(child):
            return Verdict(path, token)
        path.append(child)
        node = child


def _paths(group: Group) -> list[Path]:
    return [branch for branch in group.alive if isinstance(branch, Path)]
