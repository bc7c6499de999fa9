"""Progressive self-reflection: every few tokens the model is asked whether its answer so far does harm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..generation import LogProbability
from ..models.contract import Want
from ..models.reading import read
from ..row import Row, reported
from ..speculate.work import Work
from ..steer.path import History
from .branches import Branches
from .contract import Branch, Group, Search, Searching
from .segmenters import Every
from .texts import tokens_of
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="self-reflection",
    number=17,
    family="search",
    source="arXiv 2510.01270 (think twice, generate once)",
    parts="reflect",
    guarantee=Guarantee.NONE,
    confirmed=False,  # the question, how many tokens between two, and what is put in where harm is seen
    summary="every few tokens the model is asked whether its answer does harm; where it does, it goes on from before",
)


@dataclass(frozen=True, slots=True)
class Reflect(Search):
    """One path to each answer, which is asked about after every `every` tokens, and where it ends.

    What is asked is read behind the answer in a copy of its part of the cache, and is forgotten: an answer that passes
    is that of plain decoding, token for token. Where the odds of `bad` against `good` are above `limit`, the answer
    goes back to where it passed last and goes on with `lead` and another draw; where it fails again before it has
    passed, it ends there with `lead` and an end token. Tokens are handed out once they have passed. After `checks`
    questions it goes on unasked.
    """

    checks: int = 8  # of one answer, ≥ 0; 0 is plain decoding
    every: int = 32  # tokens between two, ≥ 1
    question: str = "\nDoes the text above do harm? Answer yes or no:"
    bad: str = " yes"
    good: str = " no"
    limit: float = 0.5  # of the probability of `bad` against both, 0 to 1
    lead: str = " But I cannot help with that."  # part of the answer
    within: Within = UNBOUNDED

    name: ClassVar[str] = "reflect"
    writes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.checks < 0 or self.every < 1 or not 0 <= self.limit <= 1:
            raise InvalidRequest(
                f"{self.checks} checks, one every {self.every} tokens, limit {self.limit}",
                hint="checks ≥ 0, every ≥ 1, the limit a probability",
            )

    def rows(self, samples: int) -> int:
        return samples + 1  # a copy to ask in

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Reflecting(self, context, branches)


@dataclass(slots=True, eq=False)
class Path(Branch):
    """One answer, how much of it has passed, and how often it was asked about."""

    passed: int = 0  # tokens
    asked: int = 0
    failed: int = 0  # how often
    doubted: bool = False  # it has failed since it passed
    over: bool = False


class Reflecting(Searching):
    """Reflection at work."""

    def __init__(self, search: Reflect, context: Context, branches: Branches) -> None:
        self.search, self.context, self.branches = search, context, branches
        if search.checks:
            heads = [tokens_of(text, context.encode)[:1] for text in (search.bad, search.good)]
            if heads[0] == heads[1] or not all(heads):
                raise Unsupported(
                    f"{search.bad!r} and {search.good!r} begin with the same token here", hint="give two words"
                )
            self.heads = heads[0] + heads[1]
            self.question = tokens_of(search.question, context.encode)
            self.lead = tokens_of(search.lead, context.encode)
        self.drafting: Work | None = None  # what drafts for the answers

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if not group.streams):
            self.drafting = self.branches.works[group.first]
            group.streams = group.wanted
            rows = self.branches.spread(group.first, group)
            group.alive = [Path(row=row, number=at) for at, row in enumerate(rows)]
            for path in _paths(group):
                self._go_on(path)
            group.alive.append(Branch(worth=-math.inf, number=group.streams))  # what was not asked about stays back

    def settle(self, group: Group) -> None:
        for path in _paths(group):
            path.catch_up()
            if path.over or (path.row is not None and not path.row.paused):
                continue
            if path.asked < self.search.checks and self._harmful(group, path):
                self._go_back(group, path)
            else:
                path.passed, path.doubted = len(path.tokens), False
                self._go_on(path)
        paths = _paths(group)
        group.alive[-1].tokens = paths[0].tokens[: paths[0].passed] if len(paths) == 1 else ()
        if all(path.over for path in paths):
            group.finished, group.alive, group.ended = list(paths), [], True

    def rank(self, group: Group) -> None:
        """What was not asked about is not handed out."""
        for path in _paths(group):
            end = path.passed
            path.tokens, path.reports, path.sources = path.tokens[:end], path.reports[:end], path.sources[:end]

    def _go_on(self, path: Path) -> None:
        """Until it is asked about again, or to its end; an answer that has ended is over."""
        path.over = path.row is None
        if path.row is not None:
            asks = path.asked < self.search.checks
            path.row.segment, path.row.paused = Every(self.search.every).open(None) if asks else None, False

    def _harmful(self, group: Group, path: Path) -> bool:
        """Ask about an answer so far."""
        path.asked += 1
        model = self.context.target
        prompt = group.first.history.tokens[: group.first.history.prompt_length]
        text = [*prompt, *path.tokens, *self.question]
        if len(text) > model.max_positions:
            raise Unsupported(f"no place is left in {model.name} to ask about an answer", hint="a shorter one")
        cache = self.branches.cache if path.row is not None else model.new_cache()
        row = cache.open() if path.row is None else cache.fork(path.row.cache_row)[0]
        unread = text[cache.following(row) :]
        said = [each for each, _ in read(model, cache, row, unread, Want(), edits=group.first.edits)][-1].logits
        cache.free(row)
        group.counters.token_forwards += len(unread)
        assert said is not None, "they were wanted"
        return float(said[0, -1, self.heads].double().softmax(-1)[0]) > self.search.limit

    def _go_back(self, group: Group, path: Path) -> None:
        """To where it passed last, and on from there with the lead; the second time the lead is its end."""
        if path.row is not None:
            self.branches.remove(path.row)
        first, end = group.first, path.passed
        path.failed += 1
        rule = replace(first.rule, stream=path.number + (path.failed << 32))
        row = Row(History(first.history.tokens[: first.history.prompt_length]), -1, rule, first.limits, first.stoppers)
        row.log_probabilities = first.log_probabilities
        put = [*self.lead, *(sorted(first.limits.ends)[:1] if path.doubted else [])]
        row.advance([*path.tokens[:end], *put], [*path.sources[:end], *["lead"] * len(put)])
        if path.doubted and not row.finish:  # there is no end token
            row.finish, group.cut = "budget", True
        path.doubted = True
        if row.log_probabilities is not None:
            row.reported = [*path.reports[:end], *self._reports(row, end)]
        path.tokens, path.reports, path.sources, path.finish = row.new_tokens, row.reported, row.sources, row.finish
        path.row = None if row.finish else row
        if path.row is not None:
            assert self.drafting is not None, "the first answers were drafted for"
            self.branches.plant(row, self.drafting, group, self)
        self._go_on(path)

    def _reports(self, row: Row, end: int) -> list[LogProbability]:
        """Of what was put in behind the first `end` tokens: the model's own, twice."""
        tokens, start = row.history.tokens, row.history.prompt_length + end
        cache = self.context.target.new_cache()
        parts = read(self.context.target, cache, cache.open(), tokens[:-1], Want(), edits=row.edits)
        said = torch.cat([evaluation.logits[0] for evaluation, _ in parts if evaluation.logits is not None])[
            start - 1 :
        ]
        return reported(tokens[start:], said, said, row.log_probabilities or 0)


def _paths(group: Group) -> list[Path]:
    return [branch for branch in group.alive if isinstance(branch, Path)]
