"""What the truncations share: a row's likeliest candidates, sorted once for all of them.

Sorting a large vocabulary costs more than everything else in the pipeline (17 ms for 152,000 tokens on one CPU
core); a small one is sorted sooner than anything is found out about it. So the first truncation of a large one looks
at tokens within a few nats of the best (typical: of the entropy), further where these do not settle what it keeps,
and last at all. Where the number of such tokens cannot be had for nothing, as on a GPU, it looks at so many of the
best instead.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ..models.vocabulary import NEVER
from .contract import Steer

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

SMALL = 2048  # tokens: a vocabulary up to here is sorted whole, all rows at once
FEW = 128  # candidates looked at first, where the steer does not know better
MORE = 8  # times as many next, and so on, where these settle nothing
FURTHER = (2.0, 5.0, 9.0, 18.0)  # nats beyond what is in reach
SHARE = 3  # of the vocabulary, one in so many: more are not worth picking out


class Candidates:
    """Some tokens of each row, likeliest first, lower id first among equals.

    Entries that were removed stay in place, with -inf for their value.
    """

    __slots__ = ("_entropy", "_log_p", "_whole", "ids", "values")

    def __init__(self, values: Tensor, ids: Tensor, whole: Candidates | None = None) -> None:
        self.values = values  # [N, K] logits
        self.ids = ids  # [N, K] tokens
        self._whole = whole  # all tokens, in no order, until something was removed; the same sums for any K
        self._log_p: Tensor | None = None
        self._entropy: Tensor | None = None

    @property
    def alive(self) -> Tensor:
        """Logits [N, V] or [N, K] of everything that is left, listed or not, in no order; −inf for what was removed."""
        return self.values if self._whole is None else self._whole.values

    @property
    def log_p(self) -> Tensor:
        """Log-probabilities [N, K] under the softmax of everything still alive, listed or not."""
        if self._log_p is None:
            whole = self._whole
            self._log_p = self.values.log_softmax(-1) if whole is None else whole.log_p.gather(1, self.ids)
        return self._log_p

    @property
    def entropy(self) -> Tensor:
        """Of everything still alive, in nats: [N, 1]."""
        if self._whole is not None:
            return self._whole.entropy
        if self._entropy is None:
            log_p = self.log_p
            self._entropy = -(log_p.exp() * log_p.clamp(min=NEVER)).sum(-1, keepdim=True)
        return self._entropy

    def after(self, step: Truncation) -> Candidates:
        """The candidates that the step keeps; the best one where it would keep none."""
        kept = step.kept(self) & (self.values > -torch.inf)  # [N, K]
        best = self.values.argmax(-1, keepdim=True)  # not always the first: typical may have removed that
        kept.scatter_(1, best, kept.gather(1, best) | ~kept.any(-1, keepdim=True))
        return Candidates(self.values.masked_fill(~kept, -torch.inf), self.ids)


def unsorted(logits: Tensor) -> Candidates:
    """All tokens by their ids."""
    return Candidates(logits, torch.arange(logits.shape[-1], device=logits.device).expand_as(logits))


def sort_all(whole: Candidates) -> Candidates:
    """All tokens as candidates."""
    values, ids = whole.values.sort(dim=-1, descending=True, stable=True)
    return Candidates(values, ids, whole)


def sort_few(whole: Candidates, order: Tensor, size: int) -> Candidates:
    """The `size` tokens that come first by `order` [N, V], greatest first; among equals at the end, any of them."""
    return listed(whole, order.topk(size, sorted=False).indices.sort(-1).values)


def listed(whole: Candidates, ids: Tensor) -> Candidates:
    """These tokens as candidates: ids [N, K], ascending, as the sort is stable."""
    values = whole.values.gather(1, ids)
    places = best_first(values)
    return Candidates(values.gather(1, places), ids.gather(1, places), whole)


def best_first(values: Tensor) -> Tensor:
    """Places [N, K] of values [N, K], the greatest first, among equals the first one first.

    Of one row of float32 they are sorted as whole numbers, value and place in one: five times as fast.
    """
    if len(values) != 1 or values.dtype != torch.float32 or values.device.type != "cpu":
        return values.argsort(dim=-1, descending=True, stable=True)
    bits = (values[0].detach() + 0.0).numpy().view(np.int32)  # of no -0.0
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as the numbers rise
    keys = (~rising).astype(np.int64) << 32 | np.arange(len(bits))
    keys.sort()
    return torch.from_numpy(keys & 0xFFFFFFFF)[None]


class Truncation(Steer):
    """A steer that removes tokens and renormalises the rest. Tokens removed before have no mass."""

    __slots__ = ()

    pointwise = True
    reach: ClassVar[float | None] = None  # nats: tokens are looked at first whose `order` is that close to the best

    @abstractmethod
    def kept(self, candidates: Candidates) -> Tensor:
        """Which candidates stay: bool [N, K]."""

    def room(self, vocabulary: int) -> int:
        """How many candidates to look at first, where they are not those in reach; the whole vocabulary where `order`
        does not tell what is kept."""
        return vocabulary if self.reach is None else min(FEW, vocabulary)

    def order(self, whole: Candidates) -> Tensor:
        """Of any two tokens that with the greater number here is kept, if only one is: [N, V]."""
        return whole.values

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        return truncate(logits, (self,))


def truncate(logits: Tensor, steps: Sequence[Truncation]) -> Tensor:
    """Apply truncations one after the other: [N, V] -> [N, V], -inf where removed."""
    active = [step for step in steps if not step.idle]
    if not active:
        return logits
    if logits.shape[-1] <= SMALL:
        return truncate_slowly(logits, active)
    # Counting what is in reach pays on a CPU; elsewhere it would have to wait for their number.
    if active[0].reach is None or logits.device.type != "cpu" or not len(logits):
        return _truncate(logits, active, active[0].room(logits.shape[-1]))
    rows = [_truncate_near(logits[at : at + 1], active) for at in range(len(logits))]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _truncate_near(logits: Tensor, active: Sequence[Truncation]) -> Tensor:
    """One row [1, V], of which the tokens in reach are looked at first, then step by step those further off."""
    first, rest = active[0], active[1:]
    whole = unsorted(logits)
    order = first.order(whole)
    best, reach = float(order.max()), first.reach or 0.0
    for far in (reach, *(reach + step for step in FURTHER)):
        ids = torch.from_numpy(np.flatnonzero((order >= best - far).numpy()))[None]
        if SHARE * ids.shape[-1] > logits.shape[-1]:
            break
        left = listed(whole, ids).after(first)
        places = order.gather(1, left.ids)
        # Settled where the first step drops the last one on the list, or nothing else is left.
        last = (places == places.amin()) & (left.values > -torch.inf)
        if not bool(last.any()) or ids.shape[-1] == int((order > -torch.inf).count_nonzero()):
            return _finish(left, rest, logits)
    return truncate_slowly(logits, active)


def _truncate(logits: Tensor, active: Sequence[Truncation], size: int) -> Tensor:
    """The same for active ones, looking at so many candidates first."""
    if size >= logits.shape[-1]:
        return truncate_slowly(logits, active)
    first, rest = active[0], active[1:]
    whole = unsorted(logits)
    order = first.order(whole)
    few = sort_few(whole, order, size)
    left = few.after(first)
    steered = _finish(left, rest, logits)
    # Unsettled where the first step keeps a token as good as the last on the list: then the list may be too
    # short, or an equal with a lower id may have been left out. Row by row, as no row may depend on another.
    places = order.gather(1, few.ids)  # [N, K]
    unsettled = ((places == places.amin(-1, keepdim=True)) & (left.values > -torch.inf)).any(-1)  # [N]
    if bool(unsettled.any()):
        steered[unsettled] = _truncate(logits[unsettled], active, MORE * size)
    return steered


def truncate_slowly(logits: Tensor, steps: Sequence[Truncation]) -> Tensor:
    """The same as `truncate`, by sorting everything."""
    return _finish(sort_all(unsorted(logits)), steps, logits)


def _finish(candidates: Candidates, steps: Sequence[Truncation], logits: Tensor) -> Tensor:
    for step in steps:
        candidates = candidates.after(step)
    return torch.full_like(logits, -torch.inf).scatter_(1, candidates.ids, candidates.values)


def shortest_prefix(p: Tensor, mass: float) -> Tensor:
    """The shortest prefix of each row of `p` [N, K] with at least `mass`: bool [N, K]."""
    before = p.cumsum(-1).roll(1, -1)  # mass in front of each entry
    before[:, 0] = 0.0
    return before < mass
