"""The scorer that every model brings: how likely it finds the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ..scorer import Draft, Scorer, Scoring


@dataclass(frozen=True, slots=True)
class Likelihood(Scorer):
    """The mean log-probability of the answer's tokens under the model itself, before any steer, in nats."""

    name: ClassVar[str] = "likelihood"
    hears: ClassVar[bool] = True

    def begin(self, context: Context) -> Scoring:
        return _Likelihood()


class _Likelihood(Scoring):
    def full(self, drafts: Sequence[Draft]) -> list[float]:
        return [sum(each.raw for each in draft.said) / max(1, len(draft.said)) for draft in drafts]


LIKELIHOOD = Likelihood()
