"""What a constraint on canvases must do: it says what may stand on a canvas, wherever it is filled next.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, slots=True)
... class Even(CanvasConstraint):
...     '''Even tokens alone.'''
...
...     name: ClassVar[str] = "even"
...
...     def open(self, canvas, context):
...         return EvenState()
>>> class EvenState(CanvasConstraintState):
...     def admit(self, canvas, prediction, window, choose):
...         logits = prediction.logits.clone()
...         logits[:, 1::2] = -float("inf")
...         changed = prediction.under(logits)
...         return changed, choose(changed)

>>> from dataclasses import replace
>>> from stretto import method
>>> from stretto.engine import Engine
>>> from stretto.models.masked import Masking
>>> from stretto.models.table import MaskedTable
>>> engine = Engine(MaskedTable.random_masked(6, 3, Masking(5)))
>>> even = replace(method.parse("threshold(0.5)"), constraint=Even())
>>> {token % 2 for token in engine.generate([0, 2], even, max_new_tokens=8).tokens}
{0}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from ...context import Context
from ..canvas import Canvas, Delta, Span
from ..contract import Part, PartState
from ..prediction import Prediction


class CanvasConstraintState(PartState, ABC):
    """A constraint at work in one row."""

    @abstractmethod
    def admit(
        self, canvas: Canvas, prediction: Prediction, window: Span, choose: Callable[[Prediction], Delta]
    ) -> tuple[Prediction, Delta]:
        """What is filled so that the canvas can still become valid, and what the order chose it from.

        Called once in each step, in place of the order. `choose` asks the order, which may be asked again with other
        predictions of the same positions; only its last answer counts for it.
        """


class CanvasConstraint(Part):
    """Says what may stand on a canvas."""

    kind: ClassVar[str] = "constraint"

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> CanvasConstraintState:
        """Begin work in one row. Raises InvalidRequest where nothing valid fits on the canvas."""
