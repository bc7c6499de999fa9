"""Top-a: a floor that falls with the square of the highest probability."""

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
    name="top-a",
    family="steer",
    source="github.com/BlinkDL/RWKV-LM",
    parts="plain+top_a(0.2)",
    guarantee=Guarantee.DEFINED,
    summary="samples from tokens above a share of the best one's probability, squared",
)


@dataclass(frozen=True, slots=True)
class TopA(Truncation):
    """Keep the tokens of at least `share` times the square of the highest probability.

    Where the model is sure, little but its best token is left; where it is not, nearly everything.
    """

    name: ClassVar[str] = "top_a"
    stage: ClassVar[Stage] = Stage.MIN_P
    reach: ClassVar[float] = 7.0

    share: float  # of the highest probability squared, 0 to 1; 0 is neutral

    def __post_init__(self) -> None:
        require(in_range(self.share, 0, 1), f"top_a {self.share} is out of range", "0 to 1; 0 keeps all")

    @property
    def idle(self) -> bool:
        return self.share == 0

    @classmethod
    def examples(cls) -> tuple[TopA, ...]:
        return cls(0.0), cls(0.3), cls(1.0)

    def kept(self, candidates: Candidates) -> Tensor:
        log_p = candidates.log_p
        return log_p >= math.log(self.share) + 2 * log_p.amax(-1, keepdim=True)
