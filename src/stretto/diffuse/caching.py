"""What refreshes share that compute everything once in a while, and only some rows in between."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from ..errors import InvalidRequest, Unsupported
from .canvas import Canvas, Delta, Span
from .contract import World
from .orders.abilities import Rechecking
from .prediction import Positions
from .refresh.contract import Plan, RefreshState


class Periodic(RefreshState):
    """Computes everything when a window opens and every so many steps; else what is stale, and what was taken back."""

    def __init__(self, every: int) -> None:
        self.every = every  # steps; 0: only when a window opens
        self.age: int | None = None  # steps since everything was computed; None: it must be now
        self.dirty: set[int] = set()  # positions whose tokens have changed

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
            rows = np.union1d(rows, [position for position in sorted(self.dirty) if position < len(canvas)])
            self.dirty = set()
        return Plan(rows)

    def learn(self, canvas: Canvas, delta: Delta) -> None:
        self.dirty.update(delta.touched)  # what is filled also where the window does not stay


def require_every(every: int) -> None:
    """Raise InvalidRequest for a negative period."""
    if every < 0:
        raise InvalidRequest(f"everything is computed every {every} steps", hint="1 or more; 0: when a window opens")


def require_no_rechecks(world: World, name: str) -> None:
    """Raise Unsupported where rows stand beside the canvas, for which nothing is kept."""
    if isinstance(world.order, Rechecking):
        raise Unsupported(
            f"{world.order.name!r} needs rows beside the canvas, and {name!r} keeps parts of the network by position",
            hint="use 'dual-cache', 'prefix-cache' or 'delayed-cache'",
        )


def require_bidirectional(world: World, name: str) -> None:
    """Raise Unsupported on a model whose past blocks do not change: there is nothing to approximate."""
    if world.masking.block is not None:
        raise Unsupported(
            f"{name!r} keeps what may be stale, and the past blocks of {world.model.name} never change",
            hint="use 'block-cache', which is exact there",
        )
