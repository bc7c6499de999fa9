"""Top-p: the nucleus (arXiv 1904.09751)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .contract import Stage, in_range, require
from .truncation import Candidates, Truncation, shortest_prefix

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="nucleus",
    family="steer",
    source="arXiv 1904.09751 (the curious case of neural text degeneration)",
    parts="plain+top_p(0.9)",
    guarantee=Guarantee.DEFINED,
    summary="samples from the fewest likeliest tokens that hold the mass p",
)


@dataclass(frozen=True, slots=True)
class TopP(Truncation):
    """Keep the fewest likeliest tokens whose mass reaches p; the token that crosses p is kept."""

    name: ClassVar[str] = "top_p"
    stage: ClassVar[Stage] = Stage.TOP_P
    reach: ClassVar[float] = 9.0

    p: float  # probability mass, above 0 to 1; 1 is neutral

    def __post_init__(self) -> None:
        require(self.p > 0 and in_range(self.p, 0, 1), f"top_p {self.p} is out of range", "above 0, up to 1")

    @property
    def idle(self) -> bool:
        return self.p == 1

    @classmethod
    def examples(cls) -> tuple[TopP, ...]:
        return cls(1.0), cls(0.1), cls(0.8)

    def kept(self, candidates: Candidates) -> Tensor:
        return shortest_prefix(candidates.log_p.exp(), self.p)
