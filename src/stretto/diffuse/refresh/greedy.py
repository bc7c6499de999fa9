"""dKV-Cache, greedy: a few rows a step, around what is filled (arXiv 2505.15781)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...errors import InvalidRequest, Unsupported
from ..caching import Periodic, require_bidirectional, require_every
from ..canvas import Canvas, Span, none
from ..contract import World
from ..orders.abilities import Foreseeing, ForeseeingState
from ..orders.contract import OrderState
from ..prediction import Positions
from .contract import Plan, Refresh, RefreshState


@dataclass(frozen=True, slots=True)
class GreedyCache(Refresh):
    """Computes what was filled at the step before, what is filled now, and what stands around that.

    For orders that know what they fill before the model speaks. `every=1` is no cache.
    """

    every: int = 2  # steps after which everything is computed again, ≥ 1; 0: only when a block opens
    width: int = 4  # positions around each that is filled, half of them on either side, ≥ 0

    name: ClassVar[str] = "greedy-cache"

    def __post_init__(self) -> None:
        require_every(self.every)
        if self.width < 0:
            raise InvalidRequest(f"{self.width} positions around each", hint="0 or more; 4 as published")

    def check(self, world: World) -> None:
        require_bidirectional(world, self.name)
        if not isinstance(world.order, Foreseeing):
            raise Unsupported(
                f"{world.order.name!r} decides what to fill when the model has spoken, {self.name!r} must know before",
                hint="use 'random-order' or 'first-hitting', or 'delayed-cache'",
            )

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        return GreedyState(self)


class GreedyState(Periodic):
    """Remembers what is filled now."""

    def __init__(self, settings: GreedyCache) -> None:
        super().__init__(settings.every)
        self.reach = settings.width // 2
        self.filling: Positions = none()

    def wanted(self, canvas: Canvas, window: Span, order: OrderState) -> Positions:
        assert isinstance(order, ForeseeingState), "the order was checked"
        return order.foreseen(canvas, window)

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        self.filling = wanted
        return super().plan(canvas, window, wanted)

    def stale(self, canvas: Canvas, window: Span) -> Positions:
        around = self.filling[:, None] + np.arange(-self.reach, self.reach + 1)
        rows: Positions = np.unique(around.clip(0, canvas.scope(window) - 1))
        return rows
