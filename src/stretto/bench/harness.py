"""Lets the contestants run in turn over the same cases, and keeps the seconds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from ..errors import InvalidRequest
from ..generation import Generation
from .contestants import GREEDILY, Answer, Case, Contestant, Draw
from .repetition import LIMIT, repeated_share
from .subject import Subject
from .tasks import BenchTask, Exercise

TRIES = 6  # exercises looked at for every one wanted
WARMING = -1  # the repeat of a warm-up on measured text, of which nothing may be remembered
SHORTEST = 8  # tokens of a reference: shorter ones are passed over


@dataclass(slots=True)
class Prepared:
    """A task's cases, and how many exercises were left out for which reason."""

    name: str
    cases: list[Case] = field(default_factory=list)
    unsolved: int = 0  # the target's plain answer is wrong, or longer than allowed
    repeated: int = 0  # too much of the answer repeats itself
    long: int = 0  # the model's positions are too few

    def first(self, exercises: int) -> Prepared:
        """The same with the cases of so many exercises at most; a conversation's turns stay together."""
        return replace(self, cases=self.cases[: self._begin(exercises)])

    def spare(self, exercises: int) -> list[Case]:
        """The first turn of the exercise after so many, to warm up with; none where there is none."""
        begin = self._begin(exercises)
        return self.cases[begin : begin + 1]

    def _begin(self, exercise: int) -> int:
        begins = [at for at, case in enumerate(self.cases) if case.turn == 0]
        return begins[exercise] if exercise < len(begins) else len(self.cases)


@dataclass(slots=True)
class Run:
    """One contestant's answer to one group, in one repeat."""

    contestant: str
    repeat: int
    group: int
    seconds: float
    answer: Answer


def prepare(
    subject: Subject, task: BenchTask, count: int, max_new_tokens: int, seed: int, *, temperature: float = 0.0
) -> Prepared:
    """The task's first `count` exercises that count, a case for each turn. No contestant's speed decides.

    Exercises without a reference are answered plainly, at `temperature` with noise of `seed`.
    """
    prepared = Prepared(task.name)
    found = 0
    for exercise in itertools.islice(task.exercises(seed), TRIES * count):
        if found == count:
            break
        cases = _cases(subject, exercise, max_new_tokens, Draw(temperature, seed), prepared)
        prepared.cases += cases
        found += bool(cases)
    return prepared


def _cases(subject: Subject, exercise: Exercise, limit: int, draw: Draw, prepared: Prepared) -> list[Case]:
    """A case for each turn; none where the exercise does not count, which is noted in `prepared`."""
    cases: list[Case] = []
    for turn, (prompt, expected) in enumerate(_turns(subject, exercise, limit, draw, prepared)):
        if repeated_share(expected) > LIMIT or any(expected == case.expected for case in cases):
            prepared.repeated += 1  # in itself, or what was said in an earlier turn already
            return []
        forced = exercise.reference is not None
        cases.append(Case(prompt, expected, forced, exercise.question, exercise.category, turn))
    return cases if len(cases) == 1 + len(exercise.later) else []


def _turns(
    subject: Subject, exercise: Exercise, limit: int, draw: Draw, prepared: Prepared
) -> Iterator[tuple[list[int], list[int]]]:
    """Prompt and answer of each turn, as long as they count; what was answered stands in the next one's prompt."""
    said: list[str] = []  # after the first prompt, by the model and the user in turn
    for later in (*exercise.later, None):
        try:
            prompt = subject.encode(exercise, said)
        except InvalidRequest:  # longer than the model's positions
            prompt = [0] * subject.replayed.max_positions
        if len(prompt) + limit > subject.replayed.max_positions:
            prepared.long += 1
            return
        if exercise.reference is not None:
            tokens = subject.encode_reference(exercise.reference)
            if len(tokens) >= SHORTEST:
                yield prompt, [*tokens, *subject.ends[:1]][:limit]
            return
        answer = _plainly(subject, prompt, limit, draw)
        if exercise.solved is not None and not (answer.finish == "end" and exercise.solved(answer.text)):
            prepared.unsolved += 1
            return
        yield prompt, answer.tokens
        if later is not None:
            said += [answer.text, later]


def _plainly(subject: Subject, prompt: list[int], limit: int, draw: Draw) -> Generation:
    subject.replayed.follow(None)
    settings = {"max_new_tokens": limit, "temperature": draw.temperature, "seed": draw.seed}
    return subject.engine.generate(prompt, "plain", **settings)


def grouped(cases: Sequence[Case], size: int) -> list[list[Case]]:
    """Groups of `size` cases to be answered side by side; the last may be smaller."""
    return [list(cases[at : at + size]) for at in range(0, len(cases), size)]


def measure(
    contestants: Sequence[Contestant],
    groups: Sequence[Sequence[Case]],
    repeats: int,
    draw: Draw = GREEDILY,
    *,
    spare: Sequence[Case] = (),
    clock: Callable[[], float] = perf_counter,
    progress: Callable[[], object] = lambda: None,
) -> list[Run]:
    """Every contestant answers every group `repeats` times, after a warm-up.

    They take turns group by group, and who begins changes each time (A B C, B C A, …): whatever slows the
    machine for a while slows all of them. Contestants that learn from texts see each group once in a repeat; they
    warm up on `spare`, which is not measured. `progress` is called after each answer.
    """
    for contestant in contestants:
        warm = spare or groups[0]
        for repeat in range(repeats) if contestant.learns and spare else (WARMING,):
            contestant.prepare(warm, replace(draw, repeat=repeat))
            contestant.answer(warm)
        progress()
    runs: list[Run] = []
    for turn, (repeat, group) in enumerate(itertools.product(range(repeats), range(len(groups)))):
        first = turn % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            contestant.prepare(groups[group], replace(draw, repeat=repeat))
            begun = clock()
            answer = contestant.answer(groups[group])
            runs.append(Run(contestant.name, repeat, group, clock() - begun, answer))
            progress()
    return runs
