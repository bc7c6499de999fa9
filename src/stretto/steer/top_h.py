"""Top-H: a bound on the entropy of what is kept (arXiv 2509.02510)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, in_range, require
from .truncation import Candidates, Truncation

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="top-h",
    family="steer",
    source="arXiv 2509.02510 (Top-H decoding); as in transformers",
    parts="plain+top_h(0.4)",
    guarantee=Guarantee.DEFINED,
    summary="samples from the likeliest tokens that make up a share of the entropy",
)


@dataclass(frozen=True, slots=True)
class TopH(Truncation):
    """Keep the likeliest tokens whose terms -p ln p add up to at most `share` of the entropy, and the best in any case.

    As in transformers, the probabilities and the entropy are those of the `among` likeliest tokens alone, and no other
    token stays; with 0 they are those of all tokens.
    """

    name: ClassVar[str] = "top_h"
    stage: ClassVar[Stage] = Stage.TOP_H

    share: float  # of the entropy, above 0 to 1; 1 is neutral among all tokens
    among: int = 100  # likeliest tokens that are looked at, 1 or more, 100 as in transformers; 0: all of them

    def __post_init__(self) -> None:
        require(
            self.share > 0 and in_range(self.share, 0, 1), f"top_h {self.share} is out of range", "above 0, up to 1"
        )
        require(self.among >= 0, f"top_h among {self.among} tokens", "1 or more, or 0 for all of them")

    @property
    def idle(self) -> bool:
        return self.share == 1 and self.among == 0

    @classmethod
    def examples(cls) -> tuple[TopH, ...]:
        return cls(1.0, 0), cls(0.4), cls(1.0, 3), cls(0.7, 0)

    def room(self, vocabulary: int) -> int:
        return (
            min(self.among + 1, vocabulary) if self.among else vocabulary
        )  # one more shows that the rest is no better

    def kept(self, candidates: Candidates) -> Tensor:
        size = candidates.values.shape[-1]
        values = candidates.values[:, : self.among or size]  # [N, K], likeliest first
        terms = torch.special.entr(values.softmax(-1))
        kept = torch.zeros_like(candidates.values, dtype=torch.bool)
        kept[:, : values.shape[-1]] = (terms.cumsum(-1) <= self.share * terms.sum(-1, keepdim=True)) | (self.share == 1)
        kept[:, 0] = True
        return kept
