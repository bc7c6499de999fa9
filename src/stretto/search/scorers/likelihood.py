"""The scorer that every model brings: how likely it finds the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ..scorer import Draft, Scorer, Scoring

ENTRY = Entry(
    name="sample-and-rank",
    number=168,
    family="search",
    source="arXiv 2001.09977 (Meena)",
    parts="best-of(20,likelihood(penalty=0))",
    guarantee=Guarantee.APPROXIMATE,
    summary="of twenty drawn answers the one that the model finds likeliest: less generic than what a beam finds",
)


@dataclass(frozen=True, slots=True)
class Likelihood(Scorer):
    """The log-probability of the answer under the model itself, at temperature 1 and before any steer, in nats.

    It is divided by a power of how many tokens there are: the mean of a token, or with `penalty=0` the sum.
    """

    penalty: float = 1.0  # ≥ 0, power of the length

    name: ClassVar[str] = "likelihood"
    hears: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.penalty < 0:
            raise InvalidRequest(f"penalty {self.penalty} of 'likelihood'", hint="a number from 0")

    def begin(self, context: Context) -> Scoring:
        return _Likelihood(self.penalty)


@dataclass(frozen=True, slots=True)
class _Likelihood(Scoring):
    penalty: float

    def full(self, drafts: Sequence[Draft]) -> list[float]:
        return [sum(each.raw for each in draft.said) / max(1, len(draft.said)) ** self.penalty for draft in drafts]


LIKELIHOOD = Likelihood()
