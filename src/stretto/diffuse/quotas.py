"""How many positions a step fills, where that is settled beforehand."""

from __future__ import annotations

import math

from ..errors import InvalidRequest
from .canvas import Canvas, Span

EPSILON = 1e-3  # where Dream's grid of times ends (arXiv 2508.15487)


def require_steps(steps: int) -> None:
    """Raise InvalidRequest for a negative number of steps."""
    if steps < 0:
        raise InvalidRequest(f"an order takes {steps} steps", hint="1 or more for the whole canvas; 0: one a position")


def steps_of(steps: int, canvas: Canvas, window: Span) -> int:
    """The window's share of the steps that the whole canvas shall take, rounded up; 0 steps: one a position."""
    masks = len(canvas.masks(window))
    return max(1, math.ceil(steps * masks / canvas.total)) if steps else max(1, masks)


def transfers(masks: int, steps: int) -> list[int]:
    """As even as whole numbers can be, larger ones first: 7 masks in 3 steps are 3, 2, 2 (arXiv 2502.09992)."""
    base, more = divmod(masks, steps)
    return [base + (step < more) for step in range(steps)]


def times(steps: int, epsilon: float = EPSILON) -> list[float]:
    """Dream's grid: steps + 1 times from 1 down to epsilon, evenly."""
    return [1 + (epsilon - 1) * step / steps for step in range(steps + 1)]


def ascending(total: int, growth: int = 2) -> list[int]:
    """1, growth, growth² … in ⌊log total⌋ steps, all that is left in the last: 128 are 1, 2, 4, 8, 16, 32, 65.

    (arXiv 2509.23924.) With growth 1 there are `total` steps of one.
    """
    if growth == 1:
        return [1] * total
    steps = 1
    while growth ** (steps + 1) <= total:
        steps += 1
    sizes = [growth**step for step in range(steps - 1)]
    return [*sizes, total - sum(sizes)]
