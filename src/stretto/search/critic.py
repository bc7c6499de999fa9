"""What a critic must do: look at a whole answer, and say how the next one shall be asked for, or that none shall."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from ..context import Context
from ..values import Checked
from .scorer import Draft

Action = Literal["on", "back", "afresh", "stop"]


class Advice(NamedTuple):
    """What comes next."""

    action: Action  # go on from this answer, or from the one before it; begin afresh; stop here
    text: str = ""  # what the model is told, behind what it sees of its answers


STOP = Advice("stop")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One whole answer."""

    draft: Draft  # the answer to the question as it was first asked
    worth: float  # what the scorer says of it
    seen: tuple[int, ...] = ()  # all that the model saw when it began this answer
    answer: tuple[int, ...] = ()  # without the end token, as the model sees it from now on


class Critique(ABC):
    """A critic at work in one decode."""

    @abstractmethod
    def advise(self, attempts: Sequence[Attempt]) -> Advice:
        """Look at the newest of the answers that stand, at least one; those before it led to it."""


class Critic(metaclass=Checked):
    """Looks at whole answers. It may hold what it needs of a model, in what it begins."""

    name: ClassVar[str]
    kind: ClassVar[str] = "critic"

    @abstractmethod
    def begin(self, context: Context) -> Critique:
        """Start work in one decode. Raises Unsupported where it cannot serve."""
