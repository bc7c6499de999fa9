"""Min-p: a floor relative to the likeliest token (arXiv 2407.01082)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .contract import Stage, in_range, require
from .truncation import Candidates, Truncation

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="min-p",
    family="steer",
    source="arXiv 2407.01082 (turning up the heat)",
    parts="plain+min_p(0.1)",
    guarantee=Guarantee.DEFINED,
    summary="samples from tokens of at least a share of the best one's probability",
)


@dataclass(frozen=True, slots=True)
class MinP(Truncation):
    """Keep the tokens with at least `share` times the probability of the likeliest."""

    name: ClassVar[str] = "min_p"
    stage: ClassVar[Stage] = Stage.MIN_P
    reach: ClassVar[float] = 4.0

    share: float  # of the highest probability, 0 to 1; 0 is neutral

    def __post_init__(self) -> None:
        require(in_range(self.share, 0, 1), f"min_p {self.share} is out of range", "0 to 1; 0 keeps all")

    @property
    def idle(self) -> bool:
        return self.share == 0

    @classmethod
    def examples(cls) -> tuple[MinP, ...]:
        return cls(0.0), cls(0.2), cls(1.0)

    def kept(self, candidates: Candidates) -> Tensor:
        return candidates.values >= candidates.values[:, :1] + math.log(self.share)
