"""Best of n: draw several answers, and keep those that a scorer finds best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .scorer import Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmentwise import Segmentwise
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="best-of-n",
    family="search",
    source="the reference: the best of n independent answers",
    parts="best-of",
    guarantee=Guarantee.APPROXIMATE,
    summary="several answers are drawn, and those are kept that a scorer finds best",
)


@dataclass(frozen=True, slots=True)
class BestOf(Segmentwise):
    """The answers are those that `samples=n` gives with the same seed, best first."""

    n: int = 4  # ≥ 1, answers drawn; no fewer than are asked for
    scorer: Scorer = LIKELIHOOD
    within: Within = UNBOUNDED

    name: ClassVar[str] = "best-of"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InvalidRequest(f"the best of {self.n} answers", hint="n is at least 1")

    def rows(self, samples: int) -> int:
        return max(self.n, samples)
