"""What a stop must do: it says whether a row ends before its canvas is full.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, slots=True)
... class Impatient(Stop):
...     '''Fills all that is open with what was predicted, at the second step.'''
...
...     name: ClassVar[str] = "impatient"
...
...     def open(self, canvas, context):
...         return ImpatientState()
>>> class ImpatientState(StopState):
...     def ended(self, canvas, prediction):
...         if canvas.step < 1:
...             return None
...         return Delta.of(prediction, np.flatnonzero(canvas.open[prediction.positions]))

>>> from dataclasses import replace
>>> import numpy as np
>>> from stretto import method
>>> from stretto.engine import Engine
>>> from stretto.models.masked import Masking
>>> from stretto.models.table import MaskedTable
>>> engine = Engine(MaskedTable.random_masked(6, 3, Masking(5)))
>>> soon = replace(method.parse("threshold(2)"), stop=Impatient())
>>> [len(step.positions) for step in engine.generate([0, 2], soon, max_new_tokens=6).steps]
[1, 5]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ...context import Context
from ..canvas import Canvas, Delta
from ..contract import Part, PartState
from ..prediction import Prediction


class StopState(PartState, ABC):
    """A stop at work in one row."""

    @abstractmethod
    def ended(self, canvas: Canvas, prediction: Prediction) -> Delta | None:
        """None: go on, on a canvas that it may have cut. Else the row ends, with these last changes, anywhere; masks
        may stay behind an end token.

        Called once in each step, after the order's changes, with all positions that somebody looked at.
        """


class Stop(Part):
    """Says whether a row ends before its canvas is full."""

    kind: ClassVar[str] = "stop"
    fills: ClassVar[bool] = True  # may change the canvas when it ends a row, or cut it

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> StopState:
        """Begin work in one row."""
