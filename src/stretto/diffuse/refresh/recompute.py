"""No cache: every position is computed at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ..contract import Canvas, Plan, Refresh, Refreshing, Span
from ..proposal import Positions


@dataclass(frozen=True, slots=True)
class Recompute(Refresh):
    """The reference that the caches are compared with."""

    name: ClassVar[str] = "recompute"
    exact: ClassVar[bool] = True

    def open(self, canvas: Canvas, context: Context) -> Refreshing:
        return Recomputing()


class Recomputing(Refreshing):
    """Remembers nothing."""

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        return Plan(np.arange(canvas.scope(window)), canvas.behind(window))
