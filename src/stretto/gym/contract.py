"""What a gym task is: it writes questions and can tell a right reply from a wrong one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Question:
    """One question in plain text, a model answer, and what its checker needs.

    `facts` holds plain data only (numbers, strings, lists, dicts), so that a question can be stored as JSON.
    """

    kind: str
    prompt: str
    answer: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Task(Protocol):
    """One kind of question. An instance named `TASK` in a file under `gym/kinds` is collected by itself."""

    @property
    def name(self) -> str:
        """The kind's name, unique in the gym."""

    @property
    def share(self) -> float:
        """Relative number of documents of this kind in the training mixture (1 is usual)."""

    def make(self, rng: random.Random) -> Question:
        """Write one question; the same generator state gives the same question."""

    def check(self, question: Question, reply: str) -> bool:
        """Whether `reply` really answers the question; never raises on nonsense."""
