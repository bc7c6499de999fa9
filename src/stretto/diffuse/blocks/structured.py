"""Dystruct: how long the canvas is, how it is cut, and which part comes next, by what is unsure (arXiv 2605.09820)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...annotations import Unbounded
from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ..canvas import Canvas, Span, none
from ..chance import Use, uniform
from ..contract import World
from ..prediction import Floats, Positions, Prediction
from .contract import Blocks, BlocksState

ENTRY = Entry(
    name="dystruct",
    family="diffusion",
    source="arXiv 2605.09820; code not found",
    parts="weld+structured-blocks+end-of-text",
    guarantee=Guarantee.APPROXIMATE,
    number=63,
    needs=("masked-diffusion model that sees its whole canvas",),
    confirmed=False,
    summary="the canvas grows by as much as looks stable, is cut where it does not, and edges are filled twice",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class Structured(Blocks):
    """Grows the canvas piece by piece; the forward over the new masks says how many stay, and cuts them into blocks.

    The structure is published, the formulas are not; these are ours. A position's instability u is its entropy over
    ln V, averaged with how often its best token changed. Of the lengths L the one with the largest
    L · exp(−mean u of the first L) · P(no end token among them) stays. From left to right a block goes on with weight
    |block| · exp(−|u − mean u of the block|), and a new one begins with weight novelty · exp(u), drawn with the seed.
    The block with the largest context · C − calm · u comes next, C being the filled share of what is near.
    """

    sizes: tuple[int, ...] = (8, 16, 32)  # by how many masks the canvas may grow, ≥ 1 each; 0: to its end at once
    novelty: Unbounded = 0.2  # ≥ 0; at 0 all that is new is one block, without bound each position is one
    calm: float = 1.0  # ≥ 0
    context: float = 1.0  # ≥ 0; if it is much the larger one, blocks come from left to right
    near: int = 4  # positions on either side that count as context, ≥ 1

    name: ClassVar[str] = "structured-blocks"

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 0 or self.near < 1:
            raise InvalidRequest(
                f"growing by {self.sizes}, context of {self.near}", hint="lengths, 0: to the end; near: 1 or more"
            )
        if not (self.novelty >= 0 and self.calm >= 0 and self.context >= 0):
            raise InvalidRequest("a negative weight of blocks", hint="novelty, calm and context are 0 or more")

    def check(self, world: World) -> None:
        if world.masking.block is not None:
            raise Unsupported(
                f"{world.model.name} was trained with blocks of {world.masking.block}, and {self.name!r} cuts its own",
                hint="use blocks() for the model's own",
            )

    def open(self, canvas: Canvas, context: Context) -> BlocksState:
        return StructuredState(self, context.target.vocabulary - 1)


class StructuredState(BlocksState):
    """Remembers its blocks, and how stable each position looked."""

    def __init__(self, settings: Structured, vocabulary: int) -> None:
        self.settings = settings
        self.scale = max(math.log(vocabulary), 1e-9) if vocabulary > 1 else 1.0
        self.blocks: list[Span] = []  # in the order in which they were begun, then those that were not yet
        self.begun = 0  # how many of them were
        self.fresh: Span | None = None  # new masks that are not cut into blocks yet
        self.entropy: Floats = np.zeros(0)  # [L] over ln V, as last seen
        self.tokens: Positions = none()  # [L] the best token last seen; −1: not seen
        self.seen: Floats = np.zeros(0)  # [L] how often
        self.flips: Floats = np.zeros(0)  # [L] how often it was another one

    def window(self, canvas: Canvas) -> Span | None:
        if self.fresh is not None:
            return self.fresh
        self.blocks = [Span(b.start, min(b.end, len(canvas))) for b in self.blocks if b.start < len(canvas)]
        self.begun = min(self.begun, len(self.blocks))
        again = next((block for block in reversed(self.blocks[: self.begun]) if len(canvas.masks(block))), None)
        if again is not None:
            return again
        if (best := self._next(canvas)) is not None:
            return best
        if canvas.ready == len(canvas):
            size = max(self.settings.sizes) if min(self.settings.sizes) else canvas.limit
            canvas.grow(len(canvas) + size)
        if canvas.ready == len(canvas):
            return None
        self.fresh = Span(canvas.ready, len(canvas))
        return self.fresh

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """All that the canvas holds: what comes next is judged by it."""
        return np.flatnonzero(canvas.open)

    def settle(self, canvas: Canvas, window: Span, prediction: Prediction) -> Span:
        self._notice(canvas, prediction)
        if self.fresh is None:
            return window
        span, self.fresh = self.fresh, None
        grown = not canvas.frozen[span.start :].any() and min(self.settings.sizes) > 0
        if grown:
            span = Span(span.start, span.start + self._length(canvas, span, prediction))
            if span.end < len(canvas):
                canvas.cut(span.end)
        self.blocks += self._cut(canvas, span)
        found = self._next(canvas)
        assert found is not None, "new masks, and no block that holds one"
        return found

    def _notice(self, canvas: Canvas, prediction: Prediction) -> None:
        """Remember how stable each position looks."""
        more = len(canvas) - len(self.seen)
        if more > 0:
            pads = (np.zeros(more), np.zeros(more), np.zeros(more))
            self.entropy, self.seen, self.flips = (
                np.concatenate(pair) for pair in zip((self.entropy, self.seen, self.flips), pads, strict=True)
            )
            self.tokens = np.concatenate([self.tokens, np.full(more, -1)])
        at, best = prediction.positions, prediction.best
        self.entropy[at] = -prediction.confidence("raw-entropy") / self.scale
        self.flips[at] += (self.tokens[at] >= 0) & (self.tokens[at] != best)
        self.seen[at] += 1
        self.tokens[at] = best

    def _instability(self, span: Span) -> Floats:
        part = slice(span.start, span.end)
        changes = self.seen[part] - 1
        flips = np.divide(self.flips[part], changes, out=np.zeros(len(changes)), where=changes > 0)
        return np.where(changes > 0, (self.entropy[part] + flips) / 2, self.entropy[part])

    def _length(self, canvas: Canvas, span: Span, prediction: Prediction) -> int:
        """How many of the new masks stay; what is left of the canvas bounds it."""
        calm = self._instability(span)
        ends = prediction.logs[:, sorted(canvas.ends)].exp().sum(-1).double().cpu().numpy()
        going = np.cumsum(np.log1p(-ends.clip(max=1 - 1e-9)))
        sizes = sorted({min(size, span.end - span.start) for size in self.settings.sizes})
        return max(sizes, key=lambda size: math.log(size) - float(calm[:size].mean()) + float(going[size - 1]))

    def _cut(self, canvas: Canvas, span: Span) -> list[Span]:
        """Contiguous blocks, from left to right."""
        calm = self._instability(span)
        coins = uniform(canvas.rule, span.positions, canvas.step, Use.OTHER)
        starts, total = [0], float(calm[0])
        for at in range(1, len(calm)):
            size = at - starts[-1]
            stays = size * math.exp(-abs(float(calm[at]) - total / size))
            if coins[at] * (stays + self.settings.novelty * math.exp(float(calm[at]))) < stays:
                total += float(calm[at])
            else:
                starts.append(at)
                total = float(calm[at])
        return [Span(span.start + a, span.start + b) for a, b in zip(starts, [*starts[1:], len(calm)], strict=True)]

    def _next(self, canvas: Canvas) -> Span | None:
        """The block to begin now; of equals the first."""
        rest = [block for block in self.blocks[self.begun :] if len(canvas.masks(block))]
        if not rest:
            return None
        best = max(rest, key=lambda block: self._worth(canvas, block))
        others = [block for block in self.blocks[self.begun :] if block != best]
        self.blocks[self.begun :] = [best, *others]
        self.begun += 1
        return best

    def _worth(self, canvas: Canvas, block: Span) -> float:
        known = ~canvas.open
        shares = [known[max(at - self.settings.near, 0) : at + self.settings.near + 1].mean() for at in block.positions]
        calm = float(self._instability(block).mean())
        return self.settings.context * float(np.mean(shares)) - self.settings.calm * calm
