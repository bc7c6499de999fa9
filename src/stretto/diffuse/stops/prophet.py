"""Prophet: stop as soon as the answer stands fast, and fill everything else at once (arXiv 2508.19982)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...annotations import Unbounded
from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ..canvas import Canvas, Delta, Span, none
from ..contract import World
from ..prediction import Positions, Prediction
from .contract import Stop, StopState

ENTRY = Entry(
    name="prophet",
    family="diffusion",
    source="arXiv 2508.19982; code github.com/pixeli99/Prophet",
    parts="low-confidence+prophet",
    guarantee=Guarantee.APPROXIMATE,
    number=2,
    needs=("masked-diffusion model that sees its whole canvas",),
    summary="once the two best logits of the answer lie far enough apart, all that is open is filled in one step",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)

EARLY, LATE = 0.33, 0.67  # of all steps: where the threshold changes


@dataclass(frozen=True, slots=True)
class Prophet(Stop):
    """Looks at the gap between the two largest logits, averaged over the answer region, filled positions included.

    The region stands behind the last given tokens of the answer ("The answer is", given in the prompt as infilling
    takes them); where none are given it is the window. Everything open is predicted for at each test, so a cache saves
    less. With infinite thresholds nothing stops.
    """

    first: Unbounded = 7.5  # gap that suffices in the first third of the steps, in logits; as published
    second: Unbounded = 5.0  # in the second third
    third: Unbounded = 2.5  # in the last
    region: int = 5  # positions behind what is given, ≥ 1
    steps: int = 0  # of the whole decode, ≥ 1; 0: one for each position
    every: int = 1  # steps from one test to the next, ≥ 1

    name: ClassVar[str] = "prophet"

    def __post_init__(self) -> None:
        if self.region < 1 or self.steps < 0 or self.every < 1:
            raise InvalidRequest(
                f"a region of {self.region}, {self.steps} steps, a test every {self.every}",
                hint="1 or more; 0 steps: one for each position",
            )
        if any(math.isnan(gap) for gap in (self.first, self.second, self.third)):
            raise InvalidRequest("a gap is no number", hint="7.5, 5.0 and 2.5 as published; inf never stops")

    def check(self, world: World) -> None:
        if world.masking.block is not None:
            raise Unsupported(
                f"{world.model.name} is block-causal: what it will answer cannot be seen before it is there",
                hint="use 'end-of-text'",
            )

    def open(self, canvas: Canvas, context: Context) -> StopState:
        given = canvas.prompt + np.flatnonzero(canvas.frozen[canvas.prompt :])
        region = None if not len(given) else Span(int(given[-1]) + 1, int(given[-1]) + 1 + self.region)
        return ProphetState(self, region, self.steps or max(1, canvas.total))


class ProphetState(StopState):
    """Remembers where the answer stands."""

    def __init__(self, settings: Prophet, region: Span | None, steps: int) -> None:
        self.settings = settings
        self.given = region  # None: the window
        self.region = region or Span(0, 0)
        self.steps = steps

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        self.region = self.given or window
        if not self._tests(canvas):
            return none()
        return np.union1d(np.flatnonzero(canvas.open), self._seen(canvas))

    def ended(self, canvas: Canvas, prediction: Prediction) -> Delta | None:
        if not self._tests(canvas):
            return None
        best = prediction.at(self._seen(canvas)).logits.topk(2, dim=-1).values
        gap = float((best[:, 0] - best[:, 1]).mean())
        left = np.flatnonzero(canvas.open[prediction.positions])
        if gap < self._threshold(canvas.step / self.steps) or len(left) < canvas.open.sum():
            return None  # or this step has opened again what the model did not predict
        return Delta.of(prediction, left)

    def _tests(self, canvas: Canvas) -> bool:
        """Whether this step is tested; a canvas that may still grow is not judged."""
        return canvas.step % self.settings.every == 0 and len(canvas) == canvas.limit and len(self._seen(canvas)) > 0

    def _seen(self, canvas: Canvas) -> Positions:
        """The region, as far as the canvas goes."""
        return np.arange(self.region.start, min(self.region.end, len(canvas)))

    def _threshold(self, progress: float) -> float:
        if progress < EARLY:
            return self.settings.first
        return self.settings.second if progress < LATE else self.settings.third
