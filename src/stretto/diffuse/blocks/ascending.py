"""Blocks that grow as the steps of an ascending order do (arXiv 2509.23924)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...errors import InvalidRequest, Unsupported
from ..canvas import Canvas, Span
from ..contract import World
from ..quotas import ascending
from .contract import Blocks, BlocksState


@dataclass(frozen=True, slots=True)
class AscendingBlocks(Blocks):
    """The last blocks are what one step each fills, the first is what the steps before them fill.

    128 positions in 4 blocks are 15, 16, 32, 65: of the steps of 1, 2, 4 … the first four, then one a block.
    """

    count: int = 4  # blocks, ≥ 1; never more than there are steps

    name: ClassVar[str] = "ascending-blocks"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidRequest(f"{self.count} blocks", hint="1 or more")

    def check(self, world: World) -> None:
        if world.masking.block is not None:
            raise Unsupported(
                f"{world.model.name} was trained with blocks of {world.masking.block}; {self.name!r} are of all sizes",
                hint="use blocks() for the model's own",
            )

    def open(self, canvas: Canvas, context: Context) -> BlocksState:
        return AscendingState(self.count)


class AscendingState(BlocksState):
    """Remembers where its blocks end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.blocks: list[Span] = []

    def window(self, canvas: Canvas) -> Span | None:
        canvas.grow(canvas.limit)
        whole = Span(0, len(canvas))
        if not self.blocks:
            self.blocks = self._cut(canvas, whole)
        clipped = (Span(block.start, min(block.end, len(canvas))) for block in self.blocks)
        return next((block for block in clipped if len(canvas.masks(block))), None)

    def _cut(self, canvas: Canvas, whole: Span) -> list[Span]:
        masks = canvas.masks(whole).tolist()
        steps = ascending(len(masks))
        early = max(1, len(steps) - self.count + 1)
        sizes = [sum(steps[:early]), *steps[early:]]
        blocks, at = [], 0
        for size in sizes:
            blocks.append(Span(masks[at], masks[at + size - 1] + 1))
            at += size
        return blocks
