"""What the parts of a decode that fills masks have in common, and who asks them what.

A part is two classes. Its settings are a frozen dataclass (`Part`), shared by all rows; what it remembers of one row is
the state that `open` gives (`PartState`). The loop hands the canvas to a state at each call and a state keeps none, so
that a copy of it serves a copy of the row. The kinds of parts each have a contract in a folder of their own:

    orders        which positions are filled in a step
    blocks        in which window
    refresh       what is computed anew, and what is read from the cache
    stops         whether the row ends before its canvas is full
    adjustments   what earlier steps make of a prediction (optional)
    guessers      which canvases of later steps are evaluated beside the present one (optional)
    constraints   what may stand on the canvas (optional)

For each row the loop (`loop.py`, through `row_state.py`) calls, step by step:

    1. `BlocksState.window`         the window; another one than before: `begin_window` of everyone
    2. `looks` of order, blocks, stop (and of a guesser): the positions to predict
    3. `RefreshState.plan`          what to compute for them; the model is evaluated for all rows together
    4. `RefreshState.read`          what the plan asked to see
    5. `BlocksState.settle`         the window again, or a part of it
    6. `adjust` of adjustment, order, stop: the prediction that the order chooses from
    7. `OrderState.choose`          what to fill, through `CanvasConstraintState.admit` where there is a constraint
    8. `StopState.ended`            whether the row ends
    9. `RefreshState.learn`         what has changed

The loop, not the parts, sees to it that given tokens never change, that only what was computed is filled, that every
step gets somewhere, and that no mask is left at the end.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from ..context import Context
from ..models.contract import Model
from ..models.masked import Masking
from ..steer.pipeline import Pipeline
from ..values import Checked
from .canvas import Canvas, Span, none
from .prediction import Positions, Prediction

if TYPE_CHECKING:
    from .orders.contract import Order


@dataclass(frozen=True, slots=True)
class World:
    """What a part must fit: the model with its masking, how tokens are chosen, and the order."""

    model: Model
    masking: Masking
    pipeline: Pipeline
    order: Order  # by which positions are filled


class PartState:
    """What a part remembers of one row, and what any part may be asked, whatever its kind.

    >>> class Counting(PartState):
    ...     steps = 0
    >>> one = Counting()
    >>> two = one.fork()
    >>> two.steps += 1
    >>> one.steps, two.steps
    (0, 1)
    """

    def fork(self) -> Self:
        """An independent copy, when a row forks or a guesser tries a step."""
        return copy.deepcopy(self)

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        """A window opens: another one than at the step before."""

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """Where it wants a prediction in this step: positions, ascending. Asked of order, blocks, stop and guesser."""
        return none()

    def adjust(self, canvas: Canvas, prediction: Prediction, window: Span) -> Prediction:
        """What it makes of the prediction that the order will choose from; the same positions.

        Asked of adjustment, order and stop, in this turn, once in each step, with what was computed for the order in
        this step: `Prediction.under` gives other logits, `Prediction.weighed` another confidence.
        """
        return prediction


class Part(metaclass=Checked):
    """A part's settings: derive a frozen dataclass from the contract of its kind, and name it."""

    name: ClassVar[str]  # in the text form
    kind: ClassVar[str]

    def check(self, world: World) -> None:
        """Raise Unsupported or InvalidRequest where it cannot serve; called before anything is evaluated."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> PartState:
        """Begin work in one row; called once, when the row joins."""
