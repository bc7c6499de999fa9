"""Top-k: the k likeliest tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, require
from .truncation import Candidates, Truncation

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="top-k",
    family="steer",
    source="arXiv 1805.04833 (hierarchical neural story generation)",
    parts="plain+top_k(40)",
    guarantee=Guarantee.DEFINED,
    summary="samples from the k likeliest tokens",
)


@dataclass(frozen=True, slots=True)
class TopK(Truncation):
    """Keep exactly the k likeliest tokens; among equals at the border, those with the lower ids."""

    name: ClassVar[str] = "top_k"
    stage: ClassVar[Stage] = Stage.TOP_K

    k: int  # tokens, 0 or more; 0 is neutral

    def __post_init__(self) -> None:
        require(self.k >= 0, f"top_k {self.k} is out of range", "1 or more tokens; 0 keeps all")

    @property
    def idle(self) -> bool:
        return self.k == 0

    @classmethod
    def examples(cls) -> tuple[TopK, ...]:
        return cls(0), cls(1), cls(3)

    def room(self, vocabulary: int) -> int:
        return min(self.k + 1, vocabulary)  # one more, to see whether the k-th has an equal

    def kept(self, candidates: Candidates) -> Tensor:
        kept = torch.zeros_like(candidates.values, dtype=torch.bool)
        kept[:, : self.k] = True
        return kept
