"""What refreshes share that compute everything once in a while, and only some rows in between."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from ..errors import InvalidRequest, Unsupported
from .contract import Canvas, Delta, Plan, Refreshing, Span, World
from .proposal import Positions


class Periodic(Refreshing):
    """Computes everything when a window opens and every so many steps; else what is stale, and what was taken back."""

    def __init__(self, every: int) -> None:
        self.every = every  # steps; 0: only when a window opens
        self.age: int | None = None  # steps since everything was computed; None: it must be now
        self.dirty: set[int] = set()  # positions whose tokens changed after they were filled

    @abstractmethod
    def stale(self, canvas: Canvas, window: Span) -> Positions:
        """Rows that are computed at each step."""

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        self.age = None

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        if self.age is None or (self.every and self.age >= self.every):
            self.age, self.dirty = 1, set()
            return Plan(np.arange(canvas.scope(window)))
        self.age += 1
        rows = self.stale(canvas, window)
        if self.dirty:
            rows = np.union1d(rows, sorted(self.dirty))
            self.dirty = set()
        return Plan(rows)

    def learn(self, canvas: Canvas, delta: Delta) -> None:
        self.dirty |= {*delta.remask, *delta.revise}


def require_every(every: int) -> None:
    """Raise InvalidRequest for a negative period."""
    if every < 0:
        raise InvalidRequest(f"everything is computed every {every} steps", hint="1 or more; 0: when a window opens")


def require_bidirectional(world: World, name: str) -> None:
    """Raise Unsupported on a model whose past blocks do not change: there is nothing to approximate."""
    if world.masking.block is not None:
        raise Unsupported(
            f"{name!r} keeps what may be stale, and the past blocks of {world.model.name} never change",
            hint="use 'block-cache', which is exact there",
        )
