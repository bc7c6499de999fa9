"""A canvas: one row's tokens, with masks where it is still open, and what a step changes of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..models.masked import Masking
from ..steer.choice import Rule
from .prediction import Positions, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPEN = -1  # in `Canvas.filled`: the position still bears a mask
GIVEN = -2  # in `Canvas.filled`: it was given, not generated


def none() -> Positions:
    """No positions."""
    return np.zeros(0, np.int64)


class Span(NamedTuple):
    """Positions start … end − 1."""

    start: int
    end: int

    @property
    def positions(self) -> Positions:
        return np.arange(self.start, self.end)


class Canvas:
    """One row's tokens, given and generated, with masks where it is still open.

    The prompt stands first; given tokens may stand anywhere (infilling), and are frozen. It grows up to `limit`.

    >>> from stretto.steer.pipeline import Pipeline
    >>> canvas = Canvas(np.array([7, 9, 9, 4, 9]), Masking(mask=9), 6, Rule(Pipeline([]), seed=0))
    >>> canvas.prompt, canvas.masks(Span(0, 5)).tolist(), canvas.total
    (1, [1, 2, 4], 4)
    >>> canvas.change(Delta({2: 5}))
    >>> canvas.ids.tolist(), canvas.filled.tolist(), canvas.ready
    ([7, 9, 5, 4, 9], [-2, -1, 0, -2, -1], 1)
    """

    def __init__(
        self, given: Positions, masking: Masking, limit: int, rule: Rule, ends: frozenset[int] = frozenset()
    ) -> None:
        """`given` [L] are ids with the mask token where the model shall write."""
        self.masking = masking
        self.ids = given.copy()  # [L]
        self.frozen = given != masking.mask  # [L] never changes
        self.filled = np.where(self.frozen, GIVEN, OPEN)  # [L] the step at which each position was filled
        self.sure = np.full(len(given), np.nan)  # [L] raw probability of the token when it was filled
        holes = np.flatnonzero(~self.frozen)
        self.prompt = int(holes[0]) if len(holes) else len(given)  # where the answer begins
        self.limit = limit
        self.rule = rule
        self.ends = ends
        self.step = 0  # steps done
        self.window_step = 0  # steps done in the window
        self.front: Span | None = None  # what is to be full first, where the window reaches beyond it; set by blocks
        self.total = len(holes) + max(0, limit - len(given))  # positions to fill before the row ends, at most

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def open(self) -> NDArray[np.bool_]:
        """Where masks are [L]."""
        masks: NDArray[np.bool_] = self.filled == OPEN
        return masks

    def masks(self, span: Span) -> Positions:
        """Open positions of a span, ascending."""
        return span.start + np.flatnonzero(self.filled[span.start : span.end] == OPEN)

    def written(self, span: Span) -> Positions:
        """Positions of a span that were open and are filled now, ascending."""
        return span.start + np.flatnonzero(self.filled[span.start : span.end] >= 0)

    @property
    def ready(self) -> int:
        """Where the first mask stands: everything before it is known."""
        found = np.flatnonzero(self.filled == OPEN)
        return int(found[0]) if len(found) else len(self)

    def scope(self, span: Span) -> int:
        """The end of what positions of a span can see."""
        block = self.masking.block
        return len(self) if block is None else min(len(self), -(-span.end // block) * block)

    def behind(self, span: Span) -> Positions:
        """Positions that a span cannot see; rows of them may be held where the window has moved back."""
        return np.arange(self.scope(span), len(self))

    def grow(self, size: int) -> None:
        """Append masks until the canvas has `size` positions (at most `limit`)."""
        more = min(size, self.limit) - len(self)
        if more > 0:
            self.ids = np.concatenate([self.ids, np.full(more, self.masking.mask)])
            self.frozen = np.concatenate([self.frozen, np.zeros(more, np.bool_)])
            self.filled = np.concatenate([self.filled, np.full(more, OPEN)])
            self.sure = np.concatenate([self.sure, np.full(more, np.nan)])

    def change(self, delta: Delta) -> None:
        """Do as a step says; whether it may is for the loop to judge."""
        for position in delta.remask:
            self.ids[position], self.filled[position], self.sure[position] = self.masking.mask, OPEN, np.nan
        for position, token in (*delta.commit.items(), *delta.revise.items()):
            self.ids[position], self.filled[position] = token, self.step

    def cut(self, size: int) -> None:
        """Drop the positions from `size` on; given ones are never dropped. A block may grow what it dropped again."""
        assert not self.frozen[size:].any(), "a given token is cut off"
        for name in ("ids", "frozen", "filled", "sure"):
            setattr(self, name, getattr(self, name)[:size])

    def fork(self, rule: Rule) -> Canvas:
        """A copy under another rule of choice."""
        twin = copy.copy(self)
        for name in ("ids", "frozen", "filled", "sure"):
            setattr(twin, name, getattr(self, name).copy())
        twin.rule = rule
        return twin


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step changes."""

    commit: Mapping[int, int] = field(default_factory=dict)  # open position -> its token
    remask: frozenset[int] = frozenset()  # filled positions that are opened again
    revise: Mapping[int, int] = field(default_factory=dict)  # filled position -> another token
    others: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # of `commit`: position -> tokens tried beside

    @classmethod
    def of(cls, prediction: Prediction, at: Positions) -> Delta:
        """Commit what is predicted at the indices `at` of a prediction."""
        return cls(dict(zip(prediction.positions[at].tolist(), prediction.tokens[at].tolist(), strict=True)))

    def within(self, size: int) -> Delta:
        """Without what happens at positions from `size` on."""
        if all(position < size for position in self.touched):
            return self
        changes = [{at: token for at, token in each.items() if at < size} for each in (self.commit, self.revise)]
        return Delta(changes[0], frozenset(at for at in self.remask if at < size), changes[1])

    def then(self, later: Delta) -> Delta:
        """This and what a later part of the same step changes."""
        return Delta({**self.commit, **later.commit}, self.remask | later.remask, {**self.revise, **later.revise})

    @property
    def touched(self) -> list[int]:
        """Positions that change."""
        return [*self.commit, *self.remask, *self.revise]


NOTHING = Delta()
