"""Epsilon and eta sampling: an absolute floor, and one that falls with the entropy (arXiv 2210.15191)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from .contract import Stage, in_range, require
from .truncation import Candidates, Truncation

if TYPE_CHECKING:
    from torch import Tensor

ENTRIES = (
    Entry(
        name="epsilon-sampling",
        family="steer",
        source="arXiv 2210.15191 (truncation sampling as language model desmoothing)",
        parts="plain+epsilon(0.0009)",
        guarantee=Guarantee.DEFINED,
        summary="samples from tokens above a floor of probability",
    ),
    Entry(
        name="eta-sampling",
        family="steer",
        source="arXiv 2210.15191 (truncation sampling as language model desmoothing)",
        parts="plain+eta(0.0009)",
        guarantee=Guarantee.DEFINED,
        summary="samples from tokens above a floor that falls with the entropy",
    ),
)


@dataclass(frozen=True, slots=True)
class Epsilon(Truncation):
    """Keep the tokens with a probability of at least epsilon."""

    name: ClassVar[str] = "epsilon"
    stage: ClassVar[Stage] = Stage.EPSILON
    reach: ClassVar[float] = 9.0

    epsilon: float  # probability, 0 to below 1; 0 is neutral

    def __post_init__(self) -> None:
        require(
            self.epsilon < 1 and in_range(self.epsilon, 0, 1),
            f"epsilon {self.epsilon} is out of range",
            "0 to below 1, usually about 0.0005; 0 keeps all",
        )

    @property
    def idle(self) -> bool:
        return self.epsilon == 0

    @classmethod
    def examples(cls) -> tuple[Epsilon, ...]:
        return cls(0.0), cls(0.06), cls(0.9)

    def kept(self, candidates: Candidates) -> Tensor:
        return candidates.log_p >= math.log(self.epsilon)


@dataclass(frozen=True, slots=True)
class Eta(Truncation):
    """Keep the tokens with a probability of at least min(epsilon, sqrt(epsilon) * exp(-H)), H the entropy."""

    name: ClassVar[str] = "eta"
    stage: ClassVar[Stage] = Stage.ETA
    reach: ClassVar[float] = 9.0

    epsilon: float  # probability, 0 to below 1; 0 is neutral

    def __post_init__(self) -> None:
        require(
            self.epsilon < 1 and in_range(self.epsilon, 0, 1),
            f"eta {self.epsilon} is out of range",
            "0 to below 1, usually about 0.0005; 0 keeps all",
        )

    @property
    def idle(self) -> bool:
        return self.epsilon == 0

    @classmethod
    def examples(cls) -> tuple[Eta, ...]:
        return cls(0.0), cls(0.06), cls(0.3)

    def kept(self, candidates: Candidates) -> Tensor:
        floor = torch.clamp(0.5 * math.log(self.epsilon) - candidates.entropy, max=math.log(self.epsilon))
        return candidates.log_p >= floor
