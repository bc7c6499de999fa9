"""What blocks must do: they give the window in which positions are filled.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, slots=True)
... class Pairs(Blocks):
...     name: ClassVar[str] = "pairs"
...
...     def open(self, canvas, context):
...         return PairsState()
>>> class PairsState(BlocksState):
...     def window(self, canvas):
...         canvas.grow(canvas.limit)
...         first = canvas.ready
...         return None if first == len(canvas) else Span(first, min(first + 2, len(canvas)))

>>> from stretto import method
>>> from stretto.engine import Engine
>>> from stretto.models.masked import Masking
>>> from stretto.models.table import MaskedTable
>>> from dataclasses import replace
>>> engine = Engine(MaskedTable.random_masked(6, 3, Masking(5)))
>>> in_pairs = replace(method.parse("threshold(0)"), blocks=Pairs())
>>> [step.positions for step in engine.generate([0, 2], in_pairs, max_new_tokens=5).steps]
[[2, 3], [4, 5], [6]]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ...context import Context
from ..canvas import Canvas, Span
from ..contract import Part, PartState
from ..prediction import Prediction


class BlocksState(PartState, ABC):
    """Blocks at work in one row."""

    slides: ClassVar[bool] = False  # the window moves on with each step: it opens once, and is never another one

    @abstractmethod
    def window(self, canvas: Canvas) -> Span | None:
        """Where to work in the next step, with an open position; None: there is nothing left to fill.

        Called when the row joins and after each step. It may grow the canvas.
        """

    def settle(self, canvas: Canvas, window: Span, prediction: Prediction) -> Span:
        """The window again, or a part of it, now that the model has predicted; the order fills in that.

        Called once in each step, with all positions that somebody looks at.
        """
        return window


class Blocks(Part):
    """Gives the window in which positions are filled."""

    kind: ClassVar[str] = "blocks"

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> BlocksState:
        """Begin work in one row."""
