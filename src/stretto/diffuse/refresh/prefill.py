"""Dimple's prefilling: the prompt is computed once, without seeing the answer (arXiv 2505.16990)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ..caching import require_bidirectional
from ..canvas import Canvas, Span
from ..contract import World
from ..prediction import Positions
from .contract import Plan, Refresh, RefreshState


@dataclass(frozen=True, slots=True)
class Prefill(Refresh):
    """What stands before the first hole is computed at the first step, then the rest alone.

    The same as computing everything for a model that was trained so that a prompt does not see its answer; for others
    an approximation that does not grow older.
    """

    name: ClassVar[str] = "prefill"

    def check(self, world: World) -> None:
        require_bidirectional(world, self.name)

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        return PrefillState()


class PrefillState(RefreshState):
    """Remembers whether the prompt was computed."""

    def __init__(self) -> None:
        self.filled = False

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        start = canvas.prompt if self.filled else 0
        self.filled = True
        return Plan(np.arange(start, canvas.scope(window)), blind=canvas.prompt)
