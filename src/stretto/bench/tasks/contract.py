"""Where prompts come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Exercise:
    """One prompt of a task, as text."""

    prompt: str
    chat: bool = True  # put as a user's message where the checkpoint has a chat template; else continued
    reference: str | None = None  # replay: the text that every contestant is made to write
    solved: Callable[[str], bool] | None = None  # whether a reply is right; None: any reply counts
    answer: str | None = None  # a right reply, where one is known: how much room replies are given
    later: tuple[str, ...] = ()  # the user's further turns, each after the reply to the one before
    question: int | None = None  # its number in a published set of questions
    category: str = ""  # of that set


class BenchTask(Protocol):
    """A source of exercises."""

    @property
    def name(self) -> str:
        """`FAMILY:KIND`, such as `gym:arithmetic` or `replay:gsm8k`."""

    @property
    def absent(self) -> str:
        """Why it cannot be had here; empty where it can."""

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """Different exercises, the same for the same seed; they may run out."""
