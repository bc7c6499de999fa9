"""One task in every column: rows side by side and temperatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .contestants import Case, Contestant, Draw
from .harness import Run, grouped, measure, prepare
from .results import Column, TaskResult, summarise
from .subject import Subject
from .tasks import BenchTask


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run of the benchmark measures on each task."""

    batches: tuple[int, ...]  # rows side by side, ≥ 1
    temperatures: tuple[float, ...]  # ≥ 0
    count: int  # exercises, ≥ 1; a column of more rows takes as many as it has rows
    repeats: int  # ≥ 1
    max_new_tokens: int  # ≥ 1
    seed: int

    def cases(self, batch: int) -> int:
        """Exercises of a column."""
        return max(self.count, batch)


@dataclass(frozen=True, slots=True)
class Measured:
    """One task in one column."""

    result: TaskResult
    groups: list[list[Case]]
    runs: list[Run]


def measured(
    subject: Subject, contestants: Sequence[Contestant], task: BenchTask, plan: Plan, progress: Callable[[], object]
) -> Iterator[Measured]:
    """Column by column; `progress` is called after each answer of a contestant to a group."""
    family = task.name.partition(":")[0]
    most = max(map(plan.cases, plan.batches))
    for temperature in plan.temperatures:
        prepared = prepare(subject, task, most + 1, plan.max_new_tokens, plan.seed, temperature=temperature)
        for batch in plan.batches:
            draw = Draw(temperature, plan.seed, stream=(family, batch))
            part = prepared.first(plan.cases(batch))
            groups = grouped(part.cases, batch)
            spare = prepared.spare(most)
            runs = measure(contestants, groups, plan.repeats, draw, spare=spare, progress=progress) if groups else []
            result = summarise(part, groups, contestants, runs, column=Column(batch, temperature), draw=draw)
            if (batch, temperature) != (plan.batches[0], plan.temperatures[0]):
                result.brief()
            yield Measured(result, groups, runs)


def total(plan: Plan, contestants: int) -> int:
    """Answers to be given on one task, if it has enough exercises of a single turn."""
    groups = sum(1 + plan.repeats * -(-plan.cases(batch) // batch) for batch in plan.batches)
    return groups * contestants * len(plan.temperatures)
