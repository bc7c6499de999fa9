"""What a guesser must do: it guesses the canvases of coming steps, so that they are evaluated beside the present one.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, slots=True)
... class OneAhead(Guesser):
...     name: ClassVar[str] = "one-ahead"
...     together: ClassVar[bool] = True
...
...     def open(self, canvas, context):
...         return OneAheadState()
>>> class OneAheadState(GuesserState):
...     def next(self, guessed):
...         return None if guessed.steps else guessed.choose()

>>> from dataclasses import replace
>>> from stretto import method
>>> from stretto.engine import Engine
>>> from stretto.models.masked import Masking
>>> from stretto.models.table import MaskedTable
>>> engine = Engine(MaskedTable(4, lambda position, seen: [3.0, 2.0, 1.0, 0.0], Masking(3)))
>>> stepwise = method.parse("threshold(2)")
>>> methods = (stepwise, replace(stepwise, guesser=OneAhead()))
>>> answers = [engine.generate([0], each, max_new_tokens=8) for each in methods]
>>> [answer.counters.rounds for answer in answers], answers[0].tokens == answers[1].tokens
([8, 5], True)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ..canvas import Canvas, Delta, Span
from ..contract import Part, PartState
from ..prediction import Positions


@dataclass(slots=True, eq=False)
class GuessedRow:
    """A row as it will stand if the model keeps to what it predicted last; copies, which may be changed."""

    canvas: Canvas
    window: Span
    choose: Callable[[], Delta]  # what the order fills on what was predicted last, drawn anew where it draws
    steps: int  # how many steps ahead of the canvas that is evaluated anyway


class GuesserState(PartState, ABC):
    """A guesser at work in one row. What it `looks` at it is told only where that costs no further row."""

    @abstractmethod
    def next(self, guessed: GuessedRow) -> Delta | None:
        """What the next step will change there; None: guess no further. Called step by step before an evaluation."""

    def take(self, canvas: Canvas, delta: Delta, ahead: Sequence[Positions]) -> Delta:
        """What the row takes of a step: all of it, or a part that leads to one of the canvases `ahead` [L] each."""
        return delta

    def learn(self, guessed: int, used: int) -> None:
        """So many canvases ahead were evaluated, and so many of them the row really reached."""


class Guesser(Part):
    """Guesses the canvases that the next steps will reach, so that they are evaluated beside the present one.

    An evaluation is used only where the row comes to need exactly that one: the output is that of the same order,
    blocks, refresh and stop without a guesser, step for step, greedy and with a seed; but where `GuesserState.take`
    takes less of a step than the order fills.
    """

    kind: ClassVar[str] = "guesser"
    together: bool  # all canvases in one evaluation; else one after the other, each as without a guesser
    width: int = 1  # guesses of each step, ≥ 1: further ones leave out what those before fill, and lead no further

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> GuesserState:
        """Begin work in one row."""
