"""A window of the next few masks, wherever they stand, that moves on with every step (arXiv 2510.14973)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest, Unsupported
from ..canvas import Canvas, Span
from ..contract import World
from ..growing import reach
from .contract import Blocks, BlocksState


@dataclass(frozen=True, slots=True)
class Sliding(Blocks):
    """The leftmost masks, with what is filled between them; in a block-causal model those of the model's own block.

    It fits orders that plan nothing for a whole window. As many masks as the canvas has are no blocks at all.
    """

    size: int = 16  # masks, ≥ 1

    name: ClassVar[str] = "sliding"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InvalidRequest(f"a window of {self.size} masks", hint="1 or more")

    def check(self, world: World) -> None:
        if not world.order.stepwise:
            raise Unsupported(
                f"{world.order.name!r} plans the steps of a window when it opens, and {self.name!r} moves it with each",
                hint="use 'threshold' or 'factor', or blocks that stay until they are full",
            )

    def open(self, canvas: Canvas, context: Context) -> BlocksState:
        return SlidingState(self.size)


class SlidingState(BlocksState):
    """Remembers nothing."""

    slides: ClassVar[bool] = True

    def __init__(self, size: int) -> None:
        self.size = size

    def window(self, canvas: Canvas) -> Span | None:
        span = reach(canvas)
        if span is None:
            return None
        masks = canvas.masks(span)[: self.size]
        return Span(span.start, int(masks[-1]) + 1)
