"""WINO: fill boldly, and take back what the model would not say again if it were masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Delta, Span, none
from ..prediction import Positions, Prediction, surest
from .abilities import Rechecking
from .contract import OrderState

ENTRY = Entry(
    name="wino",
    family="diffusion",
    source="arXiv 2507.18578",
    parts="wide-narrow+blocks(128)",
    guarantee=Guarantee.APPROXIMATE,
    needs=("masked-diffusion model",),
    summary="many positions at a low threshold; what was filled is judged by rows that do not see it, and taken back",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class WideNarrow(Rechecking):
    """In: surer than `wide`, at most `share` of the masks within `fewest` … `most`, and always the surest.

    Out: where a row that does not see the token gives it less than `narrow`; always fewer than came in, so that every
    step gets further. Such rows cost as much as others and are computed for the window's filled positions only. What
    the last step of a window fills is not judged. With wide=1 and narrow=0 it is the family's baseline.
    """

    wide: float = 0.6  # confidence above which a position is filled; ≥ 0
    narrow: float = 0.9  # probability below which a token is taken back, 0 to 1; 0: never
    share: float = 0.7  # of the masks that a step fills at most, 0 to 1
    fewest: int = 5  # positions that the share is raised to, ≥ 1
    most: int = 20  # positions that it is cut to, ≥ fewest

    name: ClassVar[str] = "wide-narrow"
    revises: ClassVar[bool] = True
    stepwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.wide >= 0 and 0 <= self.narrow <= 1 and 0 <= self.share <= 1):
            raise InvalidRequest(
                f"in above {self.wide}, out below {self.narrow}, at most {self.share} of the masks",
                hint="in from 0, the others from 0 to 1",
            )
        if not 1 <= self.fewest <= self.most:
            raise InvalidRequest(f"a step fills {self.fewest} to {self.most} positions", hint="1 <= fewest <= most")

    def open(self, canvas: Canvas, context: Context) -> OrderState:
        return WideNarrowState(self)

    def rechecks(self, canvas: Canvas, window: Span) -> Positions:
        return canvas.written(window) if self.narrow else none()


class WideNarrowState(OrderState):
    """Remembers nothing."""

    def __init__(self, settings: WideNarrow) -> None:
        self.settings = settings

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        return np.union1d(canvas.masks(window), self.settings.rechecks(canvas, window))

    def choose(self, canvas: Canvas, prediction: Prediction, window: Span) -> Delta:
        settings, confidence = self.settings, prediction.confidence("raw")
        masked = canvas.open[prediction.positions]
        masks = np.flatnonzero(masked)
        most = int(np.clip(settings.share * len(masks), settings.fewest, settings.most))
        fill = masks[surest(confidence[masks], most)]
        fill = fill[: max(1, int((confidence[fill] > settings.wide).sum()))]
        back: Positions = none()
        if len(fill) > 1 and not masked.all():
            held = prediction.probability(canvas.ids[prediction.positions])
            doubtful = np.flatnonzero(~masked & (held < settings.narrow))
            back = doubtful[surest(-held[doubtful], len(fill) - 1)]
        return Delta(Delta.of(prediction, fill).commit, frozenset(prediction.positions[back].tolist()))
