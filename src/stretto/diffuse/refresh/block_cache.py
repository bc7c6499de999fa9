"""The exact cache of block-causal models: a full block is computed once more, and then never again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import Unsupported
from ..canvas import Canvas, Delta, Span
from ..contract import World
from ..prediction import Positions
from .contract import Plan, Refresh, RefreshState

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTRY = Entry(
    name="fast-dllm-v2",
    family="diffusion",
    source="arXiv 2509.26328; code github.com/NVlabs/Fast-dLLM",
    parts="threshold+block-cache+end-of-text",
    guarantee=Guarantee.APPROXIMATE,
    number=153,
    needs=("block-causal masked-diffusion model",),
    training="target",
    summary="a causal model taught to fill blocks: all sure positions of a block at once; past ones are cached exactly",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)


@dataclass(frozen=True, slots=True)
class BlockCache(Refresh):
    """Computes the blocks that are not settled yet: the open one, and at its first step the one filled before.

    A block is settled once it was computed without masks; later blocks are not seen from it, so nothing changes it.
    """

    name: ClassVar[str] = "block-cache"
    exact: ClassVar[bool] = True

    def check(self, world: World) -> None:
        if world.masking.block is None:
            raise Unsupported(
                f"{world.model.name} sees its whole canvas, so no block is ever settled",
                hint="use 'dual-cache', 'prefix-cache', or 'recompute'",
            )

    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        return BlockState()


class BlockState(RefreshState):
    """Remembers what is settled."""

    def __init__(self) -> None:
        self.settled: NDArray[np.bool_] = np.zeros(0, np.bool_)  # [L] computed in a block without masks

    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        block = canvas.masking.block
        assert block is not None
        end = canvas.scope(window)
        settled = np.zeros(len(canvas), np.bool_)
        known = self.settled[: len(canvas)]  # it may have been cut
        settled[: len(known)] = known
        settled[end:] = False
        rows = np.flatnonzero(~settled[:end])
        full = ~np.isin(rows // block, np.flatnonzero(canvas.open) // block)
        if end % block and end < canvas.limit:  # the last block will still grow
            full &= rows // block != end // block
        settled[rows[full]] = True
        self.settled = settled
        return Plan(rows, canvas.behind(window))

    def learn(self, canvas: Canvas, delta: Delta) -> None:
        back = [*delta.remask, *delta.revise]
        if back and canvas.masking.block is not None:  # what follows has seen it
            self.settled[min(back) // canvas.masking.block * canvas.masking.block :] = False
