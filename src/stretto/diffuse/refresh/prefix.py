"""Fast-dLLM's prefix cache: what stands before the block is computed once per block (arXiv 2505.22618)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ..caching import Periodic, require_bidirectional, require_every
from ..canvas import Canvas, Span
from ..contract import World
from ..prediction import Positions
from .contract import Refresh, RefreshState


@dataclass(frozen=True, slots=True)
class PrefixCache(Refresh):
    """Everything at the block's first step, then the block and what follows. `every=1` is no cache, bit for bit."""

    every: int = 0  # steps after which everything is computed again, ≥ 1; 0: only when a block opens

    name: ClassVar[str] = "prefix-cache"

    def __post_init__(self) -> None:
        require_every(self.every)

    def check(self, world: World) -> None:
        require_bidirectional(world, self.name)

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        return PrefixState(self.every)


class PrefixState(Periodic):
    """Remembers how old the prefix is."""

    def stale(self, canvas: Canvas, window: Span) -> Positions:
        return np.arange(window.start, canvas.scope(window))
