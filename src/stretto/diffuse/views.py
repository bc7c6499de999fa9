"""One canvas in one evaluation: what is held of it, what is computed anew, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..models.masked import Masking
from ..models.window import Branch
from .canvas import Span, none
from .prediction import Positions
from .refresh.contract import Observation, Plan

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True, eq=False)
class CanvasMemory:
    """What is held of one canvas between evaluations: a row of the cache, and what stands in its slots.

    The slots stand in any order, as attention does not care: rows that are computed again are dropped and appended.
    """

    row: int  # of the cache
    held: Positions = field(default_factory=none)  # [S] the position in each slot
    branches: dict[Branch, Tensor] = field(default_factory=dict)  # -> [L, C] by position, where a plan stores them
    hidden: dict[int, Tensor] = field(default_factory=dict)  # layer -> [S, C] what enters it, where a plan keeps that


@dataclass(slots=True, eq=False)
class CanvasView:
    """One canvas as one evaluation sees it."""

    memory: CanvasMemory
    ids: Positions  # [L]
    plan: Plan
    window: Span  # its rows are put last, so that dropping them moves nothing
    wanted: Positions  # [n] positions whose logits are wanted, ascending
    rechecked: Positions = field(default_factory=none)  # [a] of these, as if each of them alone were masked

    def rows(self, masking: Masking) -> Positions:
        """Everything that is computed, in the order of the slots: the plan, and what the wanted positions need."""
        computed = np.zeros(len(self.ids), np.bool_)
        computed[self.plan.rows] = True
        computed[sources(masking, self.wanted)] = True
        computed[self.rechecked] = True  # so that they can be hidden from the rows that predict them
        rows = np.flatnonzero(computed)
        late = (rows >= self.window.start) & (rows < self.window.end)
        return np.concatenate([rows[~late], rows[late]])

    def beside(self, masking: Masking) -> tuple[Positions, Positions]:
        """Rows beside the canvas, that are not kept: where they stand [s], and which rechecked one each serves [s].

        For each rechecked position one row that bears the mask in its place, and where another row predicts it a copy
        of that one. The two see each other, and the canvas but for what they stand in for.
        """
        if not len(self.rechecked):
            return none(), none()
        source = sources(masking, self.rechecked)
        other = source != self.rechecked
        return np.concatenate([self.rechecked, source[other]]), np.concatenate([self.rechecked, self.rechecked[other]])


def sources(masking: Masking, positions: Positions) -> Positions:
    """The rows whose logits predict these positions: their own, or in a shifted model the ones before."""
    return np.maximum(positions - 1, 0) if masking.shift else positions


@dataclass(slots=True, eq=False)
class CanvasOutput:
    """What came out for one view."""

    start: int  # its first row in the logits
    computed: int  # rows that were evaluated
    seen: Observation
    redone: int = 0  # rows that were evaluated once more
    layers: int = 0  # in so many layers
