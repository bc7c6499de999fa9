"""What few orders can do besides: an order that can derives from the ability instead of `Order`.

Who needs an ability asks `isinstance(world.order, …)` in its `check`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...context import Context
from ..canvas import Canvas, Span
from ..prediction import Positions, Prediction
from .contract import Order, OrderState


class ForeseeingState(OrderState, ABC):
    """A foreseeing order at work in one row."""

    @abstractmethod
    def foreseen(self, canvas: Canvas, window: Span) -> Positions:
        """What it fills in this step whatever the model predicts: positions, ascending."""


class Foreseeing(Order):
    """Knows before the model predicts what it fills in a step; `greedy-cache` computes that alone."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> ForeseeingState:
        """Begin work in one row."""


class Rechecking(Order):
    """Has filled positions predicted again as if each of them alone were masked."""

    @abstractmethod
    def rechecks(self, canvas: Canvas, window: Span) -> Positions:
        """Those of the positions it looks at that are predicted so, by rows of their own that no other row sees."""


class Branching(Order):
    """May name several tokens for a position (`Delta.others`): the next evaluation has a canvas for each of them."""

    @property
    @abstractmethod
    def offers(self) -> bool:
        """Whether with these settings it ever does."""

    @abstractmethod
    def worth(self, canvas: Canvas, prediction: Prediction, window: Span) -> float:
        """How good one of these canvases is; the best one's is kept, of equals the first."""
