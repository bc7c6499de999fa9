"""Fast-dLLM's dual cache: what stands before and behind the block is computed once per block (arXiv 2505.22618)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ..caching import Periodic, require_bidirectional, require_every
from ..canvas import Canvas, Span
from ..contract import World
from ..prediction import Positions
from .contract import Refresh, RefreshState


@dataclass(frozen=True, slots=True)
class DualCache(Refresh):
    """Everything at the block's first step, then the block alone. `every=1` is no cache, bit for bit."""

    every: int = 0  # steps after which everything is computed again, ≥ 1; 0: only when a block opens

    name: ClassVar[str] = "dual-cache"

    def __post_init__(self) -> None:
        require_every(self.every)

    def check(self, world: World) -> None:
        require_bidirectional(world, self.name)

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        return DualState(self.every)


class DualState(Periodic):
    """Remembers how old the rest is."""

    def stale(self, canvas: Canvas, window: Span) -> Positions:
        return window.positions
