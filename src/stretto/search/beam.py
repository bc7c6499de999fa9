"""Beam search: the likeliest answers that keeping a few beginnings of them finds; also in groups that differ."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .contract import Branch
from .ranking import best_continuations, likeliest
from .stepwise import Sprout, Stepwise, Tip
from .within import UNBOUNDED, Within

if TYPE_CHECKING:
    from torch import Tensor

ENTRIES = (
    Entry(
        name="beam-search",
        family="search",
        source="the reference: as many of the likeliest beginnings as the beam is wide",
        parts="beam",
        guarantee=Guarantee.APPROXIMATE,
        summary="the likeliest answers, by their log-probability over a power of their length",
    ),
    Entry(
        name="diverse-beam",
        family="search",
        source="arXiv 1610.02424; code github.com/ashwinkalyan/dbs",
        parts="beam(4,groups=2)",
        guarantee=Guarantee.APPROXIMATE,
        number=70,
        summary="beams in groups, each of which avoids the tokens that the ones before it chose in the same step",
    ),
)


@dataclass(frozen=True, slots=True)
class Beam(Stepwise):
    """Of all continuations of `width` branches the best go on; one that ends counts if it is among the best `width`.

    Answers are ranked by log-probability / length ** penalty, after the steers. The search ends when nothing alive can
    get among the best; the width is at least the number of answers. Width 1 is greedy decoding, token for token.
    """

    width: int = 4  # ≥ 1, branches; a multiple of `groups`
    penalty: float = 1.0  # ≥ 0; above 0 longer answers are worth more
    norm: Literal["length", "gnmt"] = "length"  # gnmt: of ((5 + length) / 6) instead of the length
    groups: int = 1  # ≥ 1, groups of branches, which act in turn
    diversity: float = 0.5  # ≥ 0, nats a token loses for each branch of an earlier group that chose it in this step
    early: bool = False  # end as soon as there are `width` answers
    within: Within = UNBOUNDED

    name: ClassVar[str] = "beam"

    def __post_init__(self) -> None:
        if self.width < 1 or self.groups < 1 or self.width % self.groups:
            raise InvalidRequest(
                f"a beam of {self.width} branches in {self.groups} groups", hint="groups of equal size, at least one"
            )
        if min(self.penalty, self.diversity) < 0:
            raise InvalidRequest(f"penalty {self.penalty}, diversity {self.diversity}", hint="give numbers from 0")

    def rows(self, samples: int) -> int:
        return self._size(samples) * self.groups

    def _size(self, wanted: int) -> int:
        """Branches of a group."""
        return max(self.width, wanted) // self.groups + (max(self.width, wanted) % self.groups > 0)

    def grow(self, tips: Sequence[Tip], weights: Tensor, ends: Collection[int], wanted: int) -> list[Sprout]:
        size, sprouts = self._size(wanted), list[Sprout]()
        chosen = torch.zeros_like(weights[0])  # how many branches of earlier groups took each token in this step
        for group in range(self.groups):
            mine = [at for at, tip in enumerate(tips) if tip.strand == group or not tip.length]
            if not mine:  # this group is done
                continue
            scores = torch.tensor([tips[at].score for at in mine], dtype=torch.float64)
            plain = weights[mine]
            values, tokens = likeliest(plain - self.diversity * chosen, size * (1 + len(ends)))
            found = best_continuations(values + scores[:, None].numpy(), tokens, size, ends)
            for branch, token, _ in found:
                score = float(scores[branch] + plain[branch, token])  # what a token lost is not held against it later
                sprouts.append(Sprout(mine[branch], token, score, group))
                chosen[token] += 1
        return sprouts

    def worth(self, score: float, length: int) -> float:
        return score / math.pow(length if self.norm == "length" else (5 + length) / 6, self.penalty)

    def going(self, tips: Sequence[Tip], finished: Sequence[Branch], most: int, wanted: int) -> list[Tip]:
        return [tip for tip in tips if not self._over(tip.strand, tips, finished, most, self._size(wanted))]

    def _over(self, group: int, tips: Sequence[Tip], finished: Sequence[Branch], most: int, size: int) -> bool:
        """Whether nothing of a group can get among its best any more: scores never rise."""
        best = sorted((branch.worth for branch in finished if branch.strand == group), reverse=True)[:size]
        live = [tip for tip in tips if tip.strand == group]
        hopes = [max(self.worth(tip.score, tip.length + 1), self.worth(tip.score, most)) for tip in live]
        return len(best) == size and (self.early or size == 1 or max(hopes) <= best[-1])
