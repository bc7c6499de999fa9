"""The loop of this family: the route writes, the row commits, the route settles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from ..context import Context
from ..entry import Guarantee
from ..generation import LogProbability, Step
from ..models.cache import Cache
from ..models.contract import Model
from ..row import Commit, Row, reported
from ..steer.pipeline import Pipeline
from ..values import Checked
from .contract import Route, Writing


@dataclass(frozen=True, slots=True)
class Routed(metaclass=Checked):
    """The one part of a method of this family."""

    route: Route

    @property
    def guarantee(self) -> Guarantee:
        """What holds between its output and plain decoding."""
        return self.route.guarantee

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest where the route cannot serve."""
        self.route.check(model, pipeline)

    def loop(self, context: Context, cache: Cache) -> Loop:
        """The loop of one decode."""
        return Loop(context, self, cache)


class Loop:
    """Decodes rows together; they join and leave at any round."""

    def __init__(self, context: Context, method: Routed, cache: Cache) -> None:
        self.model = context.target
        self.cache = cache
        self.rows: list[Row] = []
        self._routing = method.route.begin(context, cache)

    def add(self, row: Row) -> None:
        """Let every model read the row's prompt, and let it join."""
        begun = perf_counter()
        free = self._routing.open(row)
        row.limits = replace(row.limits, new_tokens=min(row.limits.new_tokens, free))
        self.rows.append(row)
        row.counters.prompt_tokens = len(row.history.tokens)
        row.counters.prompt_seconds = perf_counter() - begun

    def fork(self, row: Row, copy: Row) -> None:
        """Let `copy` join as a continuation of what `row` holds now; its history is a copy of the row's."""
        copy.cache_row = self.cache.fork(row.cache_row)[0]
        copy.limits = row.limits
        self._routing.fork(row, copy)
        self.rows.append(copy)

    def remove(self, row: Row) -> None:
        """Let a row leave, finished or not."""
        self.rows.remove(row)
        self._routing.close(row)
        self.cache.free(row.cache_row)

    def step(self) -> list[Commit]:
        """One round of all rows. Finished rows leave."""
        begun = perf_counter()
        rows = list(self.rows)
        writings = self._routing.write(rows)
        commits = [self._commit(row, writing) for row, writing in zip(rows, writings, strict=True)]
        self._record(commits, writings, perf_counter() - begun)
        for row in rows:
            if row.finish:
                self.remove(row)
        return commits

    def _commit(self, row: Row, writing: Writing) -> Commit:
        """Make a writing final: cut it where the row ends."""
        kept = row.advance(writing.tokens)
        if row.log_probabilities is not None:
            row.reported.extend(report(writing, len(kept), row.log_probabilities))
        self._routing.settle(row)
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
