"""Blocks of one size whose window reaches into the next ones (arXiv 2511.21103)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest, Unsupported
from ..canvas import Canvas, Span
from ..contract import World
from .contract import Blocks, BlocksState


@dataclass(frozen=True, slots=True)
class LookAhead(Blocks):
    """Works in the block of the first mask and in `more` blocks behind it; with 0 it is `blocks`.

    The block of the first mask is the canvas's `front`, which orders may treat otherwise than what is ahead of it.
    """

    size: int = 32  # positions of a block, ≥ 1
    more: int = 1  # blocks ahead, ≥ 0

    name: ClassVar[str] = "look-ahead"

    def __post_init__(self) -> None:
        if self.size < 1 or self.more < 0:
            raise InvalidRequest(f"blocks of {self.size} positions and {self.more} ahead", hint="size >= 1, more >= 0")

    def check(self, world: World) -> None:
        if world.masking.block is not None:
            raise Unsupported(
                f"{world.model.name} was trained on blocks that follow full ones", hint="use blocks() for its own"
            )

    def open(self, canvas: Canvas, context: Context) -> BlocksState:
        return LookAheadState(self)


class LookAheadState(BlocksState):
    """Works from the block of the first mask on."""

    def __init__(self, settings: LookAhead) -> None:
        self.settings = settings

    def window(self, canvas: Canvas) -> Span | None:
        canvas.grow(canvas.limit)
        first, size = canvas.ready, self.settings.size
        if first == len(canvas):
            return None
        start = canvas.prompt + (first - canvas.prompt) // size * size
        canvas.front = Span(start, min(start + size, len(canvas)))
        return Span(start, min(start + (1 + self.settings.more) * size, len(canvas)))
