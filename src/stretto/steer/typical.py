"""Locally typical sampling (arXiv 2202.00666)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, in_range, require
from .truncation import Candidates, Truncation, best_first, shortest_prefix

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="locally-typical",
    family="steer",
    source="arXiv 2202.00666 (locally typical sampling)",
    parts="plain+typical_p(0.9)",
    guarantee=Guarantee.DEFINED,
    summary="samples from tokens whose surprise is close to the entropy",
)


@dataclass(frozen=True, slots=True)
class Typical(Truncation):
    """Keep the fewest tokens of the most usual surprise whose mass reaches tau.

    Usual is what lies close to the entropy H: sorted by |-ln p - H|, the likelier first among equals. It may
    drop the likeliest token, which is why greedy choice never looks at truncations.
    """

    name: ClassVar[str] = "typical_p"
    stage: ClassVar[Stage] = Stage.TYPICAL
    reach: ClassVar[float] = 5.0

    tau: float  # probability mass, above 0 to 1; 1 is neutral

    def __post_init__(self) -> None:
        require(self.tau > 0 and in_range(self.tau, 0, 1), f"typical {self.tau} is out of range", "above 0, up to 1")

    @property
    def idle(self) -> bool:
        return self.tau == 1

    @classmethod
    def examples(cls) -> tuple[Typical, ...]:
        return cls(1.0), cls(0.2), cls(0.9)

    def order(self, whole: Candidates) -> Tensor:
        return -_unusual(whole)

    def kept(self, candidates: Candidates) -> Tensor:
        p = candidates.log_p.exp()
        order = best_first(-_unusual(candidates))  # removed tokens: infinitely far
        kept = torch.zeros_like(p, dtype=torch.bool)
        return kept.scatter_(1, order, shortest_prefix(p.gather(1, order), self.tau))


def _unusual(candidates: Candidates) -> Tensor:
    """How far each one's surprise is from the entropy, in nats: [N, K]."""
    return (candidates.log_p + candidates.entropy).abs()
