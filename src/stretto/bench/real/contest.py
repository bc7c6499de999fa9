"""Lets our methods, transformers and other engines answer the same prompts in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from ...engine import Engine
from ...errors import ModelError, StrettoError
from ...models.load import opened
from ..baselines import GREEDY, Baseline
from ..contestants import Contestant, Draw, Writing, with_models
from ..harness import grouped, measure
from ..replay import Watched
from ..results import Column
from .peers import OTHERS, Other, Peer
from .prompts import Prompts
from .results import ColumnResult, Real, summarise
from .worker import Worker

LOOKUP = 10  # tokens that transformers copies at most, as its documents do


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how."""

    methods: tuple[str, ...]  # ours; `plain` is what tokens are compared with
    pythons: Mapping[str, str]  # name of another engine -> an interpreter that has it
    file: str  # what these read
    batches: tuple[int, ...]  # rows side by side, ≥ 1
    temperatures: tuple[float, ...]  # ≥ 0
    repeats: int  # ≥ 1
    max_new_tokens: int  # ≥ 1
    threads: int  # of every contestant, ≥ 1
    seed: int


@dataclass(frozen=True, slots=True)
class Contest:
    """One checkpoint and what it is asked."""

    engine: Engine
    module: PreTrainedModel | None  # transformers' own; None: it takes no part
    prompts: Prompts
    plan: Plan

    def columns(self, found: Real, progress: Callable[[], object]) -> Iterator[ColumnResult]:
        """Each column's figures; who takes no part is noted in `found.skipped`, and why."""
        for batch in self.plan.batches:
            with ExitStack() as open_processes:
                contestants = [*self.ours(), *self.stock(), *self.others(batch, found, open_processes)]
                for temperature in self.plan.temperatures:
                    yield self._column(contestants, Column(batch, temperature), progress)

    def ours(self) -> Iterator[Contestant]:
        """stretto, method by method."""
        for name in self.plan.methods:
            chosen = with_models(name, self.engine.model)
            yield Writing(name, self.engine, chosen, self.plan.max_new_tokens)

    def stock(self) -> Iterator[Contestant]:
        """transformers: greedily, and copying from the text so far."""
        if self.module is not None:
            watched, ends = Watched(self.module), sorted(self.engine.end_tokens)
            for name, options in ((GREEDY, {}), ("hf lookup", {"prompt_lookup_num_tokens": LOOKUP})):
                yield Baseline(name, watched, ends, self.plan.max_new_tokens, options)

    def others(self, batch: int, found: Real, processes: ExitStack) -> Iterator[Contestant]:
        """Other engines, a process for each of their ways."""
        cases = [*self.prompts.cases, *self.prompts.spare]
        context = max(len(case.prompt) for case in cases) + self.plan.max_new_tokens + 1
        for other in OTHERS:
            for name, way in other.ways.items():
                worker = self._begun(other, name, {"way": way, "rows": batch, "context": context}, found)
                if worker is not None:
                    processes.enter_context(closing(worker))
                    found.loading.setdefault(name, worker.seconds)
                    found.provenance["versions"] |= worker.versions
                    yield Peer(name, worker, self.plan.max_new_tokens)

    def telling(self, context: int, found: Real, processes: ExitStack) -> Iterator[tuple[str, Worker]]:
        """Engines that tell all their probabilities, each in a process of its own."""
        for other in OTHERS:
            if other.tells and other.name in self.plan.pythons:
                name = next(iter(other.ways))
                worker = self._begun(other, name, {"way": "", "rows": 1, "context": context + 1}, found)
                if worker is not None:
                    processes.enter_context(closing(worker))
                    yield name, worker

    def _begun(self, other: Other, name: str, asked: dict[str, Any], found: Real) -> Worker | None:
        """Its process; None where there is none, with the reason in `found.skipped`."""
        python = self.plan.pythons.get(other.name)
        if python is None:
            found.skipped[name] = other.missing
            return None
        try:
            return Worker(other.command(python), model=self.plan.file, threads=self.plan.threads, **asked)
        except ModelError as error:
            found.skipped[name] = error.message
            return None

    def _column(
        self, contestants: Sequence[Contestant], column: Column, progress: Callable[[], object]
    ) -> ColumnResult:
        groups = grouped(self.prompts.cases, column.batch)
        draw = Draw(column.temperature, self.plan.seed, stream=column.batch)
        spare = self.prompts.spare[: column.batch]
        runs = measure(contestants, groups, self.plan.repeats, draw, spare=spare, progress=progress)
        return summarise(column, groups, contestants, runs, self.engine.end_tokens)


def module_of(name: str) -> tuple[PreTrainedModel | None, str]:
    """transformers' own module of a checkpoint with its numbers in float32, or why there is none."""
    try:
        return opened(name).stock(None, torch.float32, torch.device("cpu")), ""
    except StrettoError as error:
        return None, error.message
