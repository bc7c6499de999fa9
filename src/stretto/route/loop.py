"""The loop of this family: the route writes, the row commits, the route settles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from ..constrain.contract import Constraint
from ..context import Context
from ..entry import Guarantee
from ..errors import Unsupported
from ..generation import LogProbability, Step
from ..loop import Loop as Base
from ..loop import Method
from ..models.contract import Model
from ..models.store import Store
from ..row import Commit, Row, reported
from ..steer.contract import Steer
from ..steer.pipeline import Pipeline
from .contract import Route, Routing, Writing


@dataclass(frozen=True, slots=True)
class Routed(Method):
    """The one part of a method of this family."""

    route: Route
    steers: tuple[Steer, ...] = ()  # beside those of the request
    constraint: Constraint | None = None  # what every answer obeys

    @property
    def guarantee(self) -> Guarantee:
        """What holds between its output and plain decoding."""
        return self.route.guarantee

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest where the route cannot serve."""
        if self.constraint is not None and not self.route.obeys:
            raise Unsupported(
                f"{self.constraint.name} keeps an answer valid token by token, which {self.route.name!r} cannot",
                hint="leave it out; 'plain', methods that draft, and the routes that switch models obey it",
            )
        self.route.check(model, pipeline)

    def loop(self, context: Context, cache: Store) -> Loop:
        """The loop of this family, with rows of this method where nothing else is said."""
        return Loop(context, cache, self)


class Loop(Base[Routing]):
    """Decodes rows together; they join and leave at any round."""

    def __init__(self, context: Context, cache: Store, usual: Routed | None = None) -> None:
        super().__init__(context, cache)
        self.usual = None if usual is None else self.begin(usual)

    def _work(self, method: Routed) -> Routing:
        return method.route.begin(self.context, self.cache)

    def _read(self, row: Row, work: Routing, size: Callable[[], int]) -> Iterator[None]:
        """Let every model read the row's prompt."""
        free = work.open(row)
        row.limits = replace(row.limits, new_tokens=min(row.limits.new_tokens, free))
        yield from work.read(row, size)

    def fork(self, row: Row, copy: Row) -> None:
        copy.cache_row = self.cache.fork(row.cache_row)[0]
        copy.limits = row.limits
        work = self.works[row]
        work.fork(row, copy)
        self._join(copy, work)

    def _forget(self, row: Row, work: Routing) -> None:
        work.close(row)
        super()._forget(row, work)

    def step(self) -> list[Commit]:
        begun = perf_counter()
        rows = list(self.rows)
        works = dict.fromkeys(self.works[row] for row in rows)
        writings: dict[Row, Writing] = {}
        for work in works:
            own = [row for row in rows if self.works[row] is work]
            writings.update(zip(own, work.write(own), strict=True))
        commits = [self._commit(row, writings[row]) for row in rows]
        self._record(commits, [writings[row] for row in rows], perf_counter() - begun)
        for row in rows:
            if row.finish:
                self.remove(row)
        return commits

    def _commit(self, row: Row, writing: Writing) -> Commit:
        """Make a writing final: cut it where the row ends."""
        kept = row.advance(writing.tokens, writing.sources)
        if row.log_probabilities is not None:
            row.reported.extend(report(writing, len(kept), row.log_probabilities))
        self.works[row].settle(row)
        return Commit(row, kept, writing.sources[: len(kept)])

    def _record(self, commits: Sequence[Commit], writings: Sequence[Writing], seconds: float) -> None:
        """Counters and the trace; counters of forwards are the engine's own model's, as in every family."""
        for commit, writing in zip(commits, writings, strict=True):
            row, tree = commit.row, writing.proposed
            step = Step(
                position=len(row.history.tokens) - len(commit.tokens),
                committed=commit.tokens,
                sources=commit.sources,
                drafted=tree.tokens,
                parents=tree.parents,
                drafters=tree.sources,
                accepted=writing.accepted[: len(commit.tokens)],
                seconds=seconds,
            )
            row.record(step, self.model.layers, writing.forwards, writing.calls)


def report(writing: Writing, size: int, most: int) -> list[LogProbability]:
    """Both log-probabilities of the first `size` tokens of a writing, with the `most` likeliest beside."""
    raw, steered = torch.stack(writing.raw[:size]), torch.stack(writing.steered[:size])  # [size, V]
    return reported(writing.tokens[:size], raw, steered, most)
