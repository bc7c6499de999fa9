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
    solved: Callable[[str], bool] | None = None  # gym: whether a reply is right


class BenchTask(Protocol):
    """A source of exercises."""

    @property
    def name(self) -> str:
        """`gym:KIND` or `replay:SOURCE`."""

    @property
    def absent(self) -> str:
        """Why it cannot be had here; empty where it can."""

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """Different exercises, the same for the same seed; they may run out."""
