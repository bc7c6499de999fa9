"""AdaBlock: a block ends where the model is about to end a line (arXiv 2509.26432)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..canvas import Canvas, Span, none
from ..growing import reach
from ..prediction import Positions, Prediction
from .contract import Blocks, BlocksState

ENTRY = Entry(
    name="adablock",
    family="diffusion",
    source="arXiv 2509.26432; code github.com/lgxi24/AdaBlock-dLLM",
    parts="threshold+adaptive-blocks+dual-cache",
    guarantee=Guarantee.APPROXIMATE,
    number=34,
    needs=("masked-diffusion model",),
    summary="blocks end at the surest delimiter that the model foresees",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class Adaptive(Blocks):
    """The forward that opens a block also says where it ends; the block's first positions are filled from it.

    Among the next positions, a share of the answer's length, the surest predicted delimiter ends the block if it is
    sure enough, an end token before it too; else it has its usual size. Tokenizers join line ends with what stands
    beside them, so delimiters are a set: if none are given, all tokens whose text holds a line end, and without a
    tokenizer none but end tokens. With `least` above 1 blocks are of one size.
    """

    delimiters: tuple[int, ...] = ()  # tokens; none: those that hold a line end
    least: float = 0.3  # confidence from which a delimiter ends the block, ≥ 0; as published 0.3 (LLaDA), 0.5 (Dream)
    size: int = 32  # positions of a block without a delimiter, ≥ 1
    share: float = 0.25  # of the answer's length, in which delimiters are looked for; above 0, ≤ 1

    name: ClassVar[str] = "adaptive-blocks"

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.share <= 1 or not self.least >= 0:
            raise InvalidRequest(
                f"blocks of {self.size}, delimiters in {self.share} of the answer from confidence {self.least}",
                hint="1 or more positions, a share up to 1, confidence 0 or more",
            )

    def open(self, canvas: Canvas, context: Context) -> BlocksState:
        return AdaptiveState(self, np.array(self.delimiters or _line_ends(context), np.int64))


class AdaptiveState(BlocksState):
    """Remembers its block, and whether it is still to be settled."""

    def __init__(self, settings: Adaptive, delimiters: Positions) -> None:
        self.settings = settings
        self.delimiters = delimiters
        self.block = Span(0, 0)
        self.fresh = False  # the block reaches as far as it may; where it ends is to be seen

    def window(self, canvas: Canvas) -> Span | None:
        self.block = Span(self.block.start, min(self.block.end, len(canvas)))
        if not self.fresh and len(canvas.masks(self.block)):
            return self.block
        span = reach(canvas)
        if span is None:
            return None
        length = max(self._ahead(canvas), self.settings.size)
        self.block, self.fresh = Span(span.start, min(span.start + length, span.end)), True
        return self.block

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        return canvas.masks(window) if self.fresh else none()

    def settle(self, canvas: Canvas, window: Span, prediction: Prediction) -> Span:
        if self.fresh:
            end = self._end(canvas, window, prediction)
            self.block, self.fresh = Span(window.start, min(end, window.end)), False
        return self.block

    def _ahead(self, canvas: Canvas) -> int:
        """How far delimiters are looked for."""
        return max(1, int(self.settings.share * (canvas.limit - canvas.prompt)))

    def _end(self, canvas: Canvas, window: Span, prediction: Prediction) -> int:
        near = prediction.positions < window.start + self._ahead(canvas)
        tokens, places = prediction.tokens, prediction.positions
        sure = np.where(near, prediction.confidence("raw"), -1.0)
        bound = np.where(np.isin(tokens, self.delimiters), sure, -1.0)
        last = np.isin(tokens, list(canvas.ends)) & (sure >= self.settings.least)
        best = int(bound.argmax())
        ends = [window.start + self.settings.size]
        if bound[best] >= self.settings.least:
            ends = [int(places[best]) + 1]
        if last.any():
            ends.append(int(places[last.argmax()]) + 1)
        return min(ends)


def _line_ends(context: Context) -> tuple[int, ...]:
    """Tokens whose text holds a line end; looked up once per engine."""
    if context.decode is None:
        return ()
    decode, tokens = context.decode, range(context.target.vocabulary)
    key = (Adaptive.name, context.tokenizer())
    return context.remembered(tuple, key, lambda: tuple(token for token in tokens if "\n" in decode([token])))
