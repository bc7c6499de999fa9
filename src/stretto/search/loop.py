"""The loop of this family: the search grows branches; rows get what all surviving branches agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from ..constrain.contract import Constraint
from ..context import Context
from ..entry import Guarantee
from ..errors import Unsupported
from ..family import Method
from ..generation import Step
from ..loop import Loop as Base
from ..models.cache import Cache
from ..models.contract import NOTHING, Model
from ..models.reading import read
from ..row import Commit, Row
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .contract import Branch, Group, Search, Searching


@dataclass(frozen=True, slots=True)
class Searched(Method):
    """The one part of a method of this family."""

    search: Search
    steers: tuple[Steer, ...] = ()  # beside those of the request
    constraint: Constraint | None = None  # what every answer obeys

    @property
    def guarantee(self) -> Guarantee:
        """What holds between its output and plain decoding."""
        return self.search.guarantee

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest where the search cannot serve."""
        if self.constraint is not None and not self.search.obeys:
            raise Unsupported(
                f"{self.constraint.name} keeps an answer valid token by token, which {self.search.name!r} cannot",
                hint="leave it out; 'plain' and methods that draft obey it",
            )
        self.search.check(model, pipeline, samples)

    def loop(self, context: Context, cache: Cache) -> Loop:
        """The loop of this family, with rows of this method where nothing else is said."""
        return Loop(context, cache, self)


class Loop(Base[Searching]):
    """Decodes groups of rows together. All rows of a group share one row of the cache."""

    def __init__(self, context: Context, cache: Cache, usual: Searched | None = None) -> None:
        super().__init__(context, cache)
        self._groups: dict[Row, Group] = {}
        self.usual = None if usual is None else self.begin(usual)

    def _work(self, method: Searched) -> Searching:
        return method.search.begin(self.context, self.cache)

    def _read(self, row: Row, work: Searching, size: Callable[[], int]) -> Iterator[None]:
        """Evaluate what is not read of a row's prompt up to its last token, and begin a group with it."""
        tokens = row.history.tokens[:-1]
        unread = tokens[self.cache.following(row.cache_row) :]
        for _ in read(self.model, self.cache, row.cache_row, unread, NOTHING, size=size):
            if self.cache.following(row.cache_row) < len(tokens):
                yield
        self._groups[row] = Group([row])

    def fork(self, row: Row, copy: Row) -> None:
        """Let `copy` join as one more answer to the same prompt; only before the first round."""
        group = self._groups[row]
        if group.seconds:
            raise Unsupported("the search has begun", hint="fork rows before the first round")
        copy.cache_row = row.cache_row
        group.rows.append(copy)
        self._groups[copy] = group
        self._join(copy, self.works[row])

    def kin(self, row: Row) -> list[Row]:
        return list(self._groups[row].rows)

    def _forget(self, row: Row, work: Searching) -> None:
        group = self._groups.pop(row, None)
        if group is not None:
            group.rows.remove(row)
        if group is None or not group.rows:
            super()._forget(row, work)

    def hand_over(self, row: Row) -> None:
        """The best there is, to this row alone."""
        group = self._groups[row]
        branch = group.best[group.rows.index(row)]
        self._hand(group, row, branch, len(branch.tokens))

    def step(self) -> list[Commit]:
        begun = perf_counter()
        groups = list(dict.fromkeys(self._groups[row] for row in self.rows))
        slots: dict[Group, list[int]] = {}
        for work in dict.fromkeys(self.works[group.rows[0]] for group in groups):
            own = [group for group in groups if self.works[group.rows[0]] is work]
            slots.update(zip(own, work.grow(own), strict=True))
        seconds = perf_counter() - begun
        commits: dict[Row, Commit] = {}
        for group in groups:
            group.seconds.append(seconds)
            self._count(group, slots[group], seconds)
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
        held = len(row.new_tokens)
        kept = row.advance(branch.tokens[held:end]) if end > held else []
        row.reported.extend(branch.reports[held : held + len(kept)])
        first = len(row.history.tokens) - len(kept)
        spent = [*group.seconds[held:], *([0.0] * len(kept))]
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
