"""No cache: every position is computed at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ..canvas import Canvas, Span
from ..prediction import Positions
from .contract import Plan, Refresh, RefreshState


@dataclass(frozen=True, slots=True)
class Recompute(Refresh):
    """The reference that the caches are compared with."""

    name: ClassVar[str] = "recompute"
    exact: ClassVar[bool] = True

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        return RecomputeState()


class RecomputeState(RefreshState):
    """Remembers nothing."""

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        return Plan(np.arange(canvas.scope(window)), canvas.behind(window))
