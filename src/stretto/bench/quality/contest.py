"""Lets methods answer a task's questions in turn, and judges what they wrote."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...engine import Engine
from ...errors import InvalidRequest
from ...method import Method
from ...train.measure import canvas
from ..contestants import GREEDILY, Answer, Case, Draw, Engines, answered
from ..harness import TRIES, grouped, measure
from ..subject import encode
from ..tasks import BenchTask
from .judging import judged
from .results import TaskQuality

Solved = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured on each task."""

    count: int  # questions, ≥ 1
    batch: int  # side by side, ≥ 1
    repeats: int  # ≥ 1; accuracy is the first one's
    limit: int | None  # tokens of an answer; None: room for the longest right answer of each group
    temperature: float  # ≥ 0
    seed: int

    @property
    def answers(self) -> int:
        """Of one method to groups of one task, the warm-up included."""
        return 1 + self.repeats * -(-self.count // self.batch)


class Solver:
    """stretto by one method, answering by itself (a contestant of `harness.measure`)."""

    ours = True
    learns = True

    def __init__(self, name: str, engine: Engine, method: Method, limit: int | None) -> None:
        self.name = name
        self.method = method
        self._engines = Engines(engine)
        self._engine = engine
        self._limit = limit
        self._draw = GREEDILY

    def prepare(self, cases: Sequence[Case], draw: Draw = GREEDILY) -> None:
        """An engine that has not seen these texts."""
        self._draw, self._engine = draw, self._engines.of(draw)

    def answer(self, cases: Sequence[Case]) -> Answer:
        """One call for the whole group; all of them have the same room."""
        found = self._engine.generate(
            [case.prompt for case in cases],
            self.method,
            max_new_tokens=self._limit or canvas(max(len(case.expected) for case in cases)),
            temperature=self._draw.temperature,
            seed=self._draw.seed,
        )
        return answered(found)

    def bound(self, case: Case, draw: Draw) -> bool:
        """It writes a text of its own."""
        return False


@dataclass(slots=True)
class Asked:
    """A task's questions: prompts with a right answer each, and how replies are judged."""

    cases: list[Case] = field(default_factory=list)
    solved: list[Solved] = field(default_factory=list)
    long: int = 0  # left out: the model's positions are too few


def unchecked(task: BenchTask, seed: int) -> str:
    """Why nothing can be said about the task's answers; empty where something can."""
    if task.absent:
        return task.absent
    first = next(iter(task.exercises(seed)), None)
    return "" if first is not None and first.solved is not None else "nobody can tell right answers from wrong ones"


def asked(engine: Engine, task: BenchTask, plan: Plan, count: int) -> Asked:
    """The first `count` questions that fit. Raises InvalidRequest where nothing says how long answers are."""
    found = Asked()
    for exercise in itertools.islice(task.exercises(plan.seed), TRIES * count):
        if len(found.cases) == count:
            break
        assert exercise.solved is not None, "the task was looked at before"
        if exercise.answer is None and plan.limit is None:
            raise InvalidRequest(f"{task.name} names no right answers to measure room by", hint="--max-new-tokens N")
        right = engine.codec.encode_piece(exercise.answer or "")
        try:
            prompt = encode(engine, exercise)
        except InvalidRequest:  # longer than the model's positions
            prompt = [0] * engine.model.max_positions
        if len(prompt) + (plan.limit or canvas(len(right))) > engine.model.max_positions:
            found.long += 1
            continue
        found.cases.append(Case(prompt, right, False))
        found.solved.append(exercise.solved)
    return found


def contest(
    engine: Engine, contestants: Sequence[Solver], task: BenchTask, plan: Plan, progress: Callable[[], object]
) -> TaskQuality:
    """All methods on one task; the first is the baseline. `progress` is called after each answer to a group."""
    found = asked(engine, task, plan, plan.count + 1)
    groups = grouped(found.cases[: plan.count], plan.batch)
    draw = Draw(plan.temperature, plan.seed, stream=task.name.partition(":")[0])
    spare = found.cases[plan.count :]
    runs = measure(contestants, groups, plan.repeats, draw, spare=spare, progress=progress) if groups else []
    result = TaskQuality(task.name, len(found.cases[: plan.count]), found.long)
    baseline = None
    for contestant in contestants if groups else ():
        mine = [run for run in runs if run.contestant == contestant.name]
        result.contestants.append(judged(contestant.name, contestant.method, mine, found.solved, baseline))
        baseline = baseline or (mine, result.contestants[0])
    return result
