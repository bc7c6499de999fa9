"""Gym kinds: questions of the test split, which count where the target's plain answer is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ... import gym
from .contract import Exercise

MOST = 256  # exercises of one kind: far more than are ever asked for


@dataclass(frozen=True, slots=True)
class GymTask:
    """One kind of the gym."""

    kind: str
    absent: str = ""

    @property
    def name(self) -> str:
        """As the benchmark calls it."""
        return f"gym:{self.kind}"

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """Questions that training never saw, each with the gym's own check."""
        task = gym.task(self.kind)
        for question in gym.questions(self.kind, "test", MOST, seed):
            yield Exercise(question.prompt, solved=partial(task.check, question), answer=question.answer)


def gym_tasks() -> list[GymTask]:
    """Every kind of the gym."""
    return [GymTask(kind) for kind in gym.tasks()]
