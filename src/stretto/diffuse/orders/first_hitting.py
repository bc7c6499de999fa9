"""First-hitting: one position a step, uniformly among the open ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ..canvas import Canvas, Delta, Span
from ..chance import Use, uniform
from ..prediction import Positions, Prediction, surest
from .abilities import Foreseeing, ForeseeingState

ENTRY = Entry(
    name="bd3lm",
    family="diffusion",
    source="arXiv 2503.09573; code github.com/kuleshov-group/bd3lms",
    parts="first-hitting+block-cache+end-of-text",
    guarantee=Guarantee.APPROXIMATE,
    needs=("block-causal masked-diffusion model",),
    summary="block after block, each filled one position at a time in random order; past blocks are cached exactly",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class FirstHitting(Foreseeing):
    """The order in which the reverse process unmasks (arXiv 2409.02908), without its empty steps.

    The times at which it does so matter to models that are told the time; these are not.
    """

    name: ClassVar[str] = "first-hitting"
    stepwise: ClassVar[bool] = True

    def open(self, canvas: Canvas, context: Context) -> ForeseeingState:
        return FirstHittingState()


class FirstHittingState(ForeseeingState):
    """Remembers nothing."""

    def foreseen(self, canvas: Canvas, window: Span) -> Positions:
        masks = canvas.masks(window)
        return masks[surest(uniform(canvas.rule, masks, canvas.step, Use.RANK), 1)]

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        lots = uniform(canvas.rule, prediction.positions, canvas.step, Use.RANK)
        return Delta.of(prediction, surest(lots, 1))
