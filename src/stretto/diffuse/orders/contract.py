"""What an order must do: it says which positions are filled in a step.

Settings and state, in one file:

>>> from dataclasses import dataclass
>>> import numpy as np
>>> @dataclass(frozen=True, slots=True)
... class EveryOther(Order):
...     name: ClassVar[str] = "every-other"
...
...     def open(self, canvas, context):
...         return EveryOtherState()
>>> class EveryOtherState(OrderState):
...     def choose(self, canvas, prediction, window):
...         return Delta.of(prediction, np.arange(0, len(prediction.positions), 2))

>>> from stretto.engine import Engine
>>> from stretto.models.masked import Masking
>>> from stretto.models.table import MaskedTable
>>> engine = Engine(MaskedTable.random_masked(6, 3, Masking(5)))
>>> [step.positions for step in engine.generate([0, 2], EveryOther(), max_new_tokens=6).steps]
[[2, 4, 6], [3, 7], [5]]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ...context import Context
from ...entry import Guarantee
from ..canvas import Canvas, Delta, Span
from ..contract import Part, PartState
from ..prediction import Positions, Prediction


class OrderState(PartState, ABC):
    """An order at work in one row."""

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """Where it wants a prediction; open positions of the window unless it revises others."""
        return canvas.masks(window)

    def spare(self, canvas: Canvas, window: Span) -> int:
        """How many steps or remasks beyond one fill a step it may take in a window that now opens."""
        return 0

    @abstractmethod
    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        """What to change now, of the n positions that it looks at; called once in each step.

        At least one position is committed in each step, `spare` aside. Committed positions are open ones of the
        window; an order that revises may take back or rewrite filled ones anywhere.
        """


class Order(Part):
    """Says which positions are filled in a step. What few orders do besides is in `abilities.py`."""

    kind: ClassVar[str] = "order"
    guarantee: ClassVar[Guarantee] = Guarantee.APPROXIMATE
    revises: ClassVar[bool] = False  # remasks or rewrites what was filled: nothing is final before the row ends
    stepwise: ClassVar[bool] = False  # plans nothing for a whole window: fits one that moves on with each step

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> OrderState:
        """Begin work in one row."""
