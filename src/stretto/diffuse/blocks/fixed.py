"""Blocks of one size, from left to right (semi-autoregressive decoding; arXiv 2502.09992, 2503.09573)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest, Unsupported
from ..canvas import Canvas, Span
from ..contract import World
from .contract import Blocks, BlocksState


@dataclass(frozen=True, slots=True)
class Fixed(Blocks):
    """The next block opens when the one before is full; the last may be shorter.

    Where the model sees its whole canvas, blocks are counted from the end of the prompt, and the canvas has its full
    length from the start. Where it is block-causal, blocks are the model's own, counted from position 0, the canvas
    grows by them, and a smaller size cuts each into parts that are filled one after the other.
    """

    size: int = 0  # positions, ≥ 1; 0: the model's own blocks, or the whole canvas as one

    name: ClassVar[str] = "blocks"

    def __post_init__(self) -> None:
        if self.size < 0:
            raise InvalidRequest(f"blocks of {self.size} positions", hint="1 or more; 0: the model's own")

    def check(self, world: World) -> None:
        block = world.masking.block
        if block is not None and self.size and block % self.size:
            raise Unsupported(
                f"{world.model.name} was trained with blocks of {block}, which {self.size} does not divide",
                hint=f"use a size that divides {block}, or blocks() for the model's own",
            )

    def open(self, canvas: Canvas, context: Context) -> BlocksState:
        return FixedState(self.size)


class FixedState(BlocksState):
    """Works in the block of the first mask."""

    def __init__(self, size: int) -> None:
        self.size = size

    def window(self, canvas: Canvas) -> Span | None:
        block = canvas.masking.block
        first = canvas.ready
        if block is None:
            canvas.grow(canvas.limit)
            origin, size = canvas.prompt, self.size or max(1, canvas.limit - canvas.prompt)
        else:
            if first == len(canvas) or canvas.scope(Span(first, first + 1)) == len(canvas):
                canvas.grow((first // block + 1) * block)
            origin, size = 0, self.size or block
        if first == len(canvas):
            return None
        start = origin + (first - origin) // size * size
        return Span(start, min(start + size, len(canvas)))
