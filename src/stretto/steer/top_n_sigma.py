"""Top-n-sigma: a floor that many standard deviations below the best logit (arXiv 2411.07641)."""

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
    name="top-n-sigma",
    family="steer",
    source="arXiv 2411.07641 (not all logits are you need); as in llama.cpp",
    parts="plain+top_n_sigma(1)",
    guarantee=Guarantee.DEFINED,
    summary="samples from tokens within some standard deviations of the best logit",
)


@dataclass(frozen=True, slots=True)
class TopNSigma(Truncation):
    """Keep the tokens whose logits lie at most `n` standard deviations below the best one's.

    The deviation is that of all logits that are left. What is kept is the same at every temperature.
    """

    name: ClassVar[str] = "top_n_sigma"
    stage: ClassVar[Stage] = Stage.TOP_N_SIGMA
    reach: ClassVar[float] = 7.0

    n: float  # standard deviations, 0 to 1000, usually 1; 0 is neutral

    def __post_init__(self) -> None:
        require(in_range(self.n, 0, 1000), f"top_n_sigma {self.n} is out of range", "0 to 1000, usually 1; 0 keeps all")

    @property
    def idle(self) -> bool:
        return self.n == 0

    @classmethod
    def examples(cls) -> tuple[TopNSigma, ...]:
        return cls(0.0), cls(1.0), cls(0.3)

    def kept(self, candidates: Candidates) -> Tensor:
        alive = candidates.alive
        left = alive > -torch.inf
        many = left.count_nonzero(-1)[:, None].clamp(min=1)
        mean = torch.where(left, alive, 0.0).sum(-1, keepdim=True) / many
        apart = torch.where(left, alive - mean, 0.0)
        sigma = torch.linalg.vector_norm(apart, dim=-1, keepdim=True) / many.to(alive.dtype).sqrt()
        floor: Tensor = candidates.values.amax(-1, keepdim=True) - self.n * sigma
        return candidates.values >= floor
