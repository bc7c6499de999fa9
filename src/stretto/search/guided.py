"""Guided beams: a scorer judges beginnings of answers, the best go on, each in several ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .scorer import Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmenter import Segmenter
from .segmenters import Every
from .segmentwise import Segmentwise
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="guided-beam",
    family="search",
    source="the reference: beams of drawn segments, pruned by a scorer of beginnings",
    parts="guided",
    guarantee=Guarantee.APPROXIMATE,
    summary="segments are drawn, the beginnings that a scorer finds best go on, each in several ways",
)


SHORT = Every(16)


@dataclass(frozen=True, slots=True)
class Guided(Segmentwise):
    """After each segment the best `keep` branches go on, each in as many ways as make `width` together.

    Branches that have ended keep their place. With `keep` = `width` it is best of n.
    """

    width: int = 8  # branches; a multiple of `keep`
    keep: int = 2  # ≥ 1, branches that go on
    scorer: Scorer = LIKELIHOOD
    segmenter: Segmenter = SHORT
    within: Within = UNBOUNDED

    name: ClassVar[str] = "guided"

    def __post_init__(self) -> None:
        if self.keep < 1 or self.width < 1 or self.width % self.keep:
            raise InvalidRequest(
                f"{self.keep} of {self.width} branches go on", hint="the width is a multiple of what is kept"
            )

    def rows(self, samples: int) -> int:
        return self.width * -(-samples // self.width)

    def select(self, values: Sequence[float], finished: int) -> list[int]:
        order = sorted(range(len(values)), key=lambda at: -values[at])[: self.keep]
        return [order[place % len(order)] for place in range(len(values))]
