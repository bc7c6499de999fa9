"""dKV-Cache: keys and values are kept one step after a token has been filled (arXiv 2505.15781)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..caching import require_bidirectional, require_every
from ..canvas import OPEN, Canvas, Delta, Span
from ..contract import World
from ..prediction import Positions
from .contract import Plan, Refresh, RefreshState

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY = Entry(
    name="dkv-cache",
    family="diffusion",
    source="arXiv 2505.15781; code github.com/horseee/dKV-Cache",
    parts="low-confidence+blocks(32)+delayed-cache",
    guarantee=Guarantee.APPROXIMATE,
    number=261,
    needs=("masked-diffusion model that sees its whole canvas",),
    summary="a token's keys and values are kept from the step after it was filled; masks are computed at each step",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class DelayedCache(Refresh):
    """Computes all masks, and once more each token filled at the step before; reads the other tokens from the cache.

    What a position holds changes most when it is filled, so it is kept only after that. `every=1` is no cache, bit for
    bit.
    """

    every: int = 8  # steps after which everything is computed again, ≥ 1; 0: only when a block opens
    warm: int = 2  # steps at the beginning that compute everything, ≥ 1
    delay: int = 1  # 1: as published; 0: what was computed of the mask is kept when it is filled
    prompt: bool = False  # what stands before the answer is computed once for the whole decode

    name: ClassVar[str] = "delayed-cache"

    def __post_init__(self) -> None:
        require_every(self.every)
        if self.warm < 1 or self.delay not in (0, 1):
            raise InvalidRequest(f"warm for {self.warm} steps, delay {self.delay}", hint="warm: 1 or more; delay: 0, 1")

    def check(self, world: World) -> None:
        require_bidirectional(world, self.name)

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        return DelayedState(self)


class DelayedState(RefreshState):
    """Remembers of which tokens keys and values are kept."""

    def __init__(self, settings: DelayedCache) -> None:
        self.settings = settings
        self.kept: NDArray[np.bool_] = np.zeros(0, np.bool_)  # [L]
        self.age: int | None = None  # steps since everything was computed; None: it must be now
        self.steps = 0

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.age = None

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        settings, known = self.settings, self.kept[: len(canvas)]
        kept = np.zeros(len(canvas), np.bool_)
        due = self.age is None or self.steps < settings.warm or (settings.every and self.age >= settings.every)
        if due:
            self.age = 0
            if settings.prompt:
                kept[: canvas.prompt][: len(known)] = known[: canvas.prompt]
        else:
            kept[: len(known)] = known
        assert self.age is not None
        self.age += 1
        self.steps += 1
        rows = np.flatnonzero(~kept[: canvas.scope(window)])
        kept[rows] = canvas.filled[rows] != OPEN
        self.kept = kept
        return Plan(rows)

    def learn(self, canvas: Canvas, delta: Delta) -> None:
        self.kept[[at for at in (*delta.remask, *delta.revise) if at < len(self.kept)]] = False
        if not self.settings.delay:
            self.kept[[at for at in delta.commit if at < len(self.kept)]] = True
