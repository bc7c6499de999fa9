"""The loop of this family: the search grows branches; rows get what all surviving branches agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from ..context import Context
from ..entry import Guarantee
from ..errors import Unsupported
from ..generation import Step
from ..models.cache import Cache
from ..models.contract import Model
from ..models.reading import skip
from ..row import Commit, Row
from ..steer.pipeline import Pipeline
from ..values import Checked
from .contract import Branch, Group, Search


@dataclass(frozen=True, slots=True)
class Searched(metaclass=Checked):
    """The one part of a method of this family."""

    search: Search

    @property
    def guarantee(self) -> Guarantee:
        """What holds between its output and plain decoding."""
        return self.search.guarantee

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest where the search cannot serve."""
        self.search.check(model, pipeline, samples)

    def loop(self, context: Context, cache: Cache) -> Loop:
        """The loop of one decode."""
        return Loop(context, self, cache)


class Loop:
    """Decodes groups of rows together. All rows of a group share one row of the cache."""

    def __init__(self, context: Context, method: Searched, cache: Cache) -> None:
        self.model = context.target
        self.cache = cache
        self.rows: list[Row] = []
        self._searching = method.search.begin(context, cache)
        self._groups: dict[Row, Group] = {}

    def add(self, row: Row) -> None:
        """Evaluate a row's prompt up to its last token, and begin a group with it."""
        begun = perf_counter()
        skip(self.model, self.cache, row.cache_row, row.history.tokens[:-1])
        self._join(Group([row]), row)
        row.counters.prompt_tokens = len(row.history.tokens)
        row.counters.prompt_seconds = perf_counter() - begun

    def fork(self, row: Row, copy: Row) -> None:
        """Let `copy` join as one more answer to the same prompt; only before the first round."""
        group = self._groups[row]
        if group.seconds:
            raise Unsupported("the search has begun", hint="fork rows before the first round")
        copy.cache_row = row.cache_row
        group.rows.append(copy)
        self._join(group, copy)

    def remove(self, row: Row) -> None:
        """Let a row leave, finished or not."""
        self.rows.remove(row)
        group = self._groups.pop(row)
        group.rows.remove(row)
        if not group.rows:
            self.cache.free(row.cache_row)

    def _join(self, group: Group, row: Row) -> None:
        self._groups[row] = group
        self.rows.append(row)

    def step(self) -> list[Commit]:
        """One round of all groups. Finished rows leave; an interrupt first hands out the best there is."""
        begun = perf_counter()
        groups = list(dict.fromkeys(self._groups[row] for row in self.rows))
        try:
            slots = self._searching.grow(groups)
        except KeyboardInterrupt:
            for group in groups:
                for row, branch in zip(list(group.rows), group.best, strict=True):
                    self._hand(group, row, branch, len(branch.tokens))
            raise
        seconds = perf_counter() - begun
        commits: dict[Row, Commit] = {}
        for group, evaluated in zip(groups, slots, strict=True):
            group.seconds.append(seconds)
            self._count(group, evaluated, seconds)
            commits |= self._hand_out(group)
        ordered = [commits[row] for row in self.rows]
        for row in [row for row in self.rows if row.finish]:
            self.remove(row)
        return ordered

    def _hand_out(self, group: Group) -> dict[Row, Commit]:
        """Give the rows what is certain: at the end everything, before it what all branches share."""
        best = group.best
        end = None if group.ended else agreed([*group.alive, *group.finished], group.handed)
        handed = {
            row: self._hand(group, row, branch, len(branch.tokens) if end is None else end)
            for row, branch in zip(group.rows, best, strict=True)
        }
        group.handed = group.handed if end is None else end
        assert not group.ended or all(row.finish for row in group.rows), "a search ended before its answers did"
        return handed

    def _hand(self, group: Group, row: Row, branch: Branch, end: int) -> Commit:
        """Commit a branch's tokens up to number `end` that the row does not hold yet."""
        kept = row.advance(branch.tokens[group.handed : end]) if end > group.handed else []
        row.reported.extend(branch.reports[group.handed : group.handed + len(kept)])
        first = len(row.history.tokens) - len(kept)
        spent = [*group.seconds[group.handed :], *([0.0] * len(kept))]
        steps = [
            Step(position=first + at, committed=[token], sources=[""], seconds=spent[at])
            for at, token in enumerate(kept)
        ]
        row.settle(steps, replace(row.counters))
        return Commit(row, kept, [""] * len(kept))

    def _count(self, group: Group, evaluated: Sequence[int], seconds: float) -> None:
        """The group's forwards are counted once, in its first row, so that sums over rows are true."""
        for row in group.rows:
            counters = replace(row.counters)
            counters.rounds += 1
            counters.seconds += seconds
            if row is group.rows[0]:
                counters.row_forwards += len(evaluated)
                counters.token_forwards += sum(evaluated)
                counters.layer_token_forwards += self.model.layers * sum(evaluated)
            row.settle([], counters)


def agreed(branches: Sequence[Branch], start: int) -> int:
    """How many first tokens all branches share, of which `start` are known to be shared."""
    first = branches[0].tokens
    end = min(len(branch.tokens) for branch in branches)
    at = start
    while at < end and all(branch.tokens[at] == first[at] for branch in branches):
        at += 1
    return at
