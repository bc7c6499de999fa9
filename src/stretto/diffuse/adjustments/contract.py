"""What an adjustment must do: it changes what is predicted, by what was predicted before, and then the order chooses.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, slots=True)
... class Sharper(Adjustment):
...     name: ClassVar[str] = "sharper"
...
...     def open(self, canvas, context):
...         return SharperState()
>>> class SharperState(AdjustmentState):
...     def adjust(self, canvas, prediction, window):
...         return prediction.under(2 * prediction.logits)

>>> from dataclasses import replace
>>> from stretto import method
>>> from stretto.engine import Engine
>>> from stretto.models.masked import Masking
>>> from stretto.models.table import MaskedTable
>>> engine = Engine(MaskedTable(4, lambda position, seen: [3.0, 2.0, 1.0, 0.0], Masking(3)))
>>> plain = method.parse("threshold(0.8)")
>>> methods = (plain, replace(plain, adjustment=Sharper()))
>>> [engine.generate([0], each, max_new_tokens=8).counters.rounds for each in methods]
[8, 1]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ...context import Context
from ..canvas import Canvas, Span
from ..contract import Part, PartState
from ..prediction import Prediction


class AdjustmentState(PartState, ABC):
    """An adjustment at work in one row."""

    @abstractmethod
    def adjust(self, canvas: Canvas, prediction: Prediction, window: Span) -> Prediction:
        """The prediction of the same positions, in the light of earlier ones; `Prediction.under` makes it.

        It is asked once in each step, with what was computed for the order in this step and nothing else.
        """


class Adjustment(Part):
    """Changes what is predicted by what was predicted at earlier steps, before the order chooses."""

    kind: ClassVar[str] = "adjustment"

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> AdjustmentState:
        """Begin work in one row."""
