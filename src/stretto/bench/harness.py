"""Lets the contestants run in turn over the same cases, and keeps the seconds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from ..errors import InvalidRequest
from .lanes import Answer, Case, Lane
from .repetition import LIMIT, repeated_share
from .subject import Subject
from .tasks import BenchTask, Exercise

TRIES = 6  # exercises looked at for every one wanted
SHORTEST = 8  # tokens of a reference: shorter ones are passed over


@dataclass(slots=True)
class Prepared:
    """A task's cases, and how many exercises were left out for which reason."""

    name: str
    cases: list[Case] = field(default_factory=list)
    unsolved: int = 0  # the target's plain answer is wrong, or longer than allowed
    repeated: int = 0  # too much of the answer repeats itself


@dataclass(slots=True)
class Run:
    """One contestant's answer to one group, in one repeat."""

    lane: str
    repeat: int
    group: int
    seconds: float
    answer: Answer


def prepare(subject: Subject, task: BenchTask, count: int, max_new_tokens: int, seed: int) -> Prepared:
    """The task's first `count` cases that count. What decides is never any contestant's speed."""
    prepared = Prepared(task.name)
    for exercise in itertools.islice(task.exercises(seed), TRIES * count):
        if len(prepared.cases) == count:
            break
        try:
            prompt = subject.encode(exercise)
        except InvalidRequest:  # longer than the model's positions
            continue
        if len(prompt) + max_new_tokens > subject.replayed.max_positions:
            continue
        expected = _expected(subject, exercise, prompt, max_new_tokens)
        if expected is None:
            prepared.unsolved += exercise.reference is None
        elif repeated_share(expected) > LIMIT:
            prepared.repeated += 1
        else:
            prepared.cases.append(Case(prompt, expected, exercise.reference is not None))
    return prepared


def _expected(subject: Subject, exercise: Exercise, prompt: list[int], limit: int) -> list[int] | None:
    """The reference, or the target's plain answer if it is right; None where the exercise does not count."""
    if exercise.reference is not None:
        tokens = subject.encode_reference(exercise.reference)
        return [*tokens, *subject.ends[:1]][:limit] if len(tokens) >= SHORTEST else None
    subject.replayed.follow(None)
    answer = subject.engine.generate(prompt, "plain", max_new_tokens=limit)
    right = answer.finish == "end" and exercise.solved is not None and exercise.solved(answer.text)
    return answer.tokens if right else None


def grouped(cases: Sequence[Case], size: int) -> list[list[Case]]:
    """Groups of `size` cases to be answered side by side; the last may be smaller."""
    return [list(cases[at : at + size]) for at in range(0, len(cases), size)]


def measure(
    lanes: Sequence[Lane],
    groups: Sequence[Sequence[Case]],
    repeats: int,
    *,
    clock: Callable[[], float] = perf_counter,
    progress: Callable[[], object] = lambda: None,
) -> list[Run]:
    """Every contestant answers every group `repeats` times, after a warm-up on the first group.

    They take turns group by group, and who begins changes each time (A B C, B C A, …): whatever slows the
    machine for a while slows all of them. `progress` is called after each answer.
    """
    for lane in lanes:
        lane.prepare(groups[0])
        lane.answer(groups[0])
        progress()
    runs: list[Run] = []
    for turn, (repeat, group) in enumerate(itertools.product(range(repeats), range(len(groups)))):
        first = turn % len(lanes)
        for lane in (*lanes[first:], *lanes[:first]):
            lane.prepare(groups[group])
            begun = clock()
            answer = lane.answer(groups[group])
            runs.append(Run(lane.name, repeat, group, clock() - begun, answer))
            progress()
    return runs
