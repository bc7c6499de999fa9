"""Answers kept as training texts, where they are right: several attempts per question, else none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import InvalidRequest
from ..generation import Generation

Question = TypeVar("Question")


@dataclass(frozen=True, slots=True)
class Collection(Generic[Question]):
    """What was kept. Keeping right answers only selects easy questions: say the coverage beside any result."""

    kept: list[tuple[Question, Generation]]
    asked: int  # questions
    attempts: int  # answers written for them

    @property
    def coverage(self) -> float:
        """Share of the questions that have a text."""
        return len(self.kept) / self.asked if self.asked else 0.0


def collect(
    questions: Iterable[Question],
    answer: Callable[[Question, int], Generation],
    right: Callable[[Question, str], bool],
    attempts: int = 4,
) -> Collection[Question]:
    """For each question the first right answer among `attempts` ≥ 1, if any.

    `answer(question, seed)` decodes, with another seed at each attempt; `right(question, text)` judges, such as a gym
    task's `check`. An answer that was cut off is not right.
    """
    if attempts < 1:
        raise InvalidRequest(f"{attempts} attempts per question", hint="attempts >= 1")
    kept, asked, written = [], 0, 0
    for question in questions:
        asked += 1
        for seed in range(attempts):
            found = answer(question, seed)
            written += 1
            if found.finish in ("end", "stop") and right(question, found.text):
                kept.append((question, found))
                break
    return Collection(kept, asked, written)
