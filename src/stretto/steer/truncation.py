"""What the truncations share: a row's likeliest candidates, sorted once for all of them.

Sorting a large vocabulary costs more than everything else in the pipeline (17 ms for 152,000 tokens on one
CPU core, against 0.4 ms for the best 50). So the first truncation looks at the likeliest few, and at all only
where those few do not settle what it keeps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .contract import Steer

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

FEW = 1024  # candidates looked at first, where the steer does not know better


class Candidates:
    """The K likeliest tokens of each row, likeliest first, lower id first among equals.

    Entries that were removed stay in place, with -inf for their value.
    """

    __slots__ = ("_log_p", "_row", "ids", "values")

    def __init__(self, values: Tensor, ids: Tensor, row: Tensor | None) -> None:
        self.values = values  # [N, K] logits
        self.ids = ids  # [N, K] tokens
        self._row = row  # [N, V] all logits, until something was removed; the same sum for any K
        self._log_p: Tensor | None = None

    @property
    def alive(self) -> Tensor:
        """Logits [N, V] or [N, K] of everything that is left, listed or not, in no order; −inf for what was removed."""
        return self.values if self._row is None else self._row

    @property
    def log_p(self) -> Tensor:
        """Log-probabilities [N, K] under the softmax of everything still alive, listed or not."""
        if self._log_p is None:
            log_p = self.alive.log_softmax(-1)
            self._log_p = log_p if self._row is None else log_p.gather(1, self.ids)
        return self._log_p

    def after(self, step: Truncation) -> Candidates:
        """The candidates that the step keeps; the best one where it would keep none."""
        kept = step.kept(self) & (self.values > -torch.inf)  # [N, K]
        best = self.values.argmax(-1, keepdim=True)  # not always the first: typical may have removed that
        kept.scatter_(1, best, kept.gather(1, best) | ~kept.any(-1, keepdim=True))
        return Candidates(self.values.masked_fill(~kept, -torch.inf), self.ids, None)


def sort_all(logits: Tensor) -> Candidates:
    """All tokens as candidates."""
    values, ids = logits.sort(dim=-1, descending=True, stable=True)
    return Candidates(values, ids, logits)


def sort_few(logits: Tensor, size: int) -> Candidates:
    """The `size` likeliest tokens as candidates; among equals at the end of the list, any of them."""
    ids = logits.topk(size, sorted=False).indices.sort(-1).values  # by id first: the next sort is stable
    values, order = logits.gather(1, ids).sort(dim=-1, descending=True, stable=True)
    return Candidates(values, ids.gather(1, order), logits)


class Truncation(Steer):
    """A steer that removes tokens and renormalises the rest. Tokens removed before have no mass."""

    __slots__ = ()

    pointwise = True

    @abstractmethod
    def kept(self, candidates: Candidates) -> Tensor:
        """Which candidates stay: bool [N, K]."""

    def room(self, vocabulary: int) -> int:
        """How many candidates to look at first; the whole vocabulary unless the kept are the likeliest."""
        return vocabulary

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return truncate(logits, (self,))


def truncate(logits: Tensor, steps: Sequence[Truncation]) -> Tensor:
    """Apply truncations one after the other: [N, V] -> [N, V], -inf where removed."""
    active = [step for step in steps if not step.idle]
    if not active:
        return logits
    first, rest = active[0], active[1:]
    size = first.room(logits.shape[-1])
    if size >= logits.shape[-1]:
        return truncate_slowly(logits, active)
    few = sort_few(logits, size)
    left = few.after(first)
    steered = _finish(left, rest, logits)
    # Unsettled where the first step keeps a token as good as the last on the list: then the list may be too
    # short, or an equal with a lower id may have been left out. Row by row, as no row may depend on another.
    unsettled = ((left.values == few.values[:, -1:]) & (left.values > -torch.inf)).any(-1)  # [N]
    if bool(unsettled.any()):
        steered[unsettled] = truncate_slowly(logits[unsettled], active)
    return steered


def truncate_slowly(logits: Tensor, steps: Sequence[Truncation]) -> Tensor:
    """The same as `truncate`, by sorting everything."""
    return _finish(sort_all(logits), steps, logits)


def _finish(candidates: Candidates, steps: Sequence[Truncation], logits: Tensor) -> Tensor:
    for step in steps:
        candidates = candidates.after(step)
    return torch.full_like(logits, -torch.inf).scatter_(1, candidates.ids, candidates.values)


def shortest_prefix(p: Tensor, mass: float) -> Tensor:
    """The shortest prefix of each row of `p` [N, K] with at least `mass`: bool [N, K]."""
    before = p.cumsum(-1).roll(1, -1)  # mass in front of each entry
    before[:, 0] = 0.0
    return before < mass
