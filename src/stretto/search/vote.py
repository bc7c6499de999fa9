"""Self-consistency: of several drawn answers, the result that most of them come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .branches import Branches
from .contract import Group, Searching
from .scorer import Judged, Scorer
from .segmentwise import Segmenting, Segmentwise
from .texts import compiled, text_of
from .within import UNBOUNDED, Within

ENTRY = Entry(
    name="self-consistency",
    family="search",
    source="arXiv 2203.11171",
    parts="vote",
    guarantee=Guarantee.APPROXIMATE,
    summary="several answers are drawn, and the result that most of them come to is the answer",
)

NUMBER = r"-?\d+(?:[.,]\d+)*"


@dataclass(frozen=True, slots=True)
class Vote(Segmentwise):
    """The answers are those that `samples=n` gives with the same seed; those with the most voted result come first.

    Of results with as many voices the one comes first whose answers are likelier on average, and of the answers to one
    result the likeliest, by mean log-probability of a token. An answer without a result has no voice, and comes last.
    """

    n: int = 5  # ≥ 1, answers drawn; no fewer than are asked for
    pattern: str = NUMBER  # a result is its last match in an answer, or that match's first group where it has any
    weights: Scorer | None = None  # how much each voice counts, ≥ 0; None: all count the same
    within: Within = UNBOUNDED

    name: ClassVar[str] = "vote"

    def __post_init__(self) -> None:
        compiled(self.pattern)
        if self.n < 1:
            raise InvalidRequest(f"{self.n} answers have a vote", hint="n is at least 1")

    def rows(self, samples: int) -> int:
        return max(self.n, samples)

    def result(self, text: str) -> str | None:
        """What an answer comes to; None: nothing."""
        found = [match[1] if match.re.groups else match[0] for match in compiled(self.pattern).finditer(text)]
        return found[-1] if found else None

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Counting(self, context, branches)


class Counting(Segmenting):
    """A vote at work."""

    def __init__(self, search: Vote, context: Context, branches: Branches) -> None:
        super().__init__(search, context, branches)
        self.vote = search
        self.weights = None if search.weights is None else Judged(search.weights, context)

    def rank(self, group: Group) -> None:
        super().rank(group)
        everyone = sorted([*group.finished, *group.alive], key=lambda branch: branch.number)
        results = [self.vote.result(text_of(branch.tokens, self.decode)) for branch in everyone]
        weights = [1.0] * len(everyone) if self.weights is None else self.weights.values(group, everyone, whole=True)
        if min(weights) < 0:
            raise InvalidRequest(f"a voice weighs {min(weights):g}", hint="take a scorer of numbers from 0")
        for place, at in enumerate(ballot(results, weights, [branch.worth for branch in everyone])):
            everyone[at].worth = -place


def ballot(results: Sequence[str | None], weights: Sequence[float], likelihoods: Sequence[float]) -> list[int]:
    """Answers by the voices of their results, best first: numbers of `results`; None is no result."""
    alike: dict[str | None, list[int]] = {}
    for at, result in enumerate(results):
        alike.setdefault(result, []).append(at)

    def rank(result: str | None) -> tuple[bool, float, float]:
        among = alike[result]
        return result is None, -sum(weights[at] for at in among), -sum(likelihoods[at] for at in among) / len(among)

    return [at for result in sorted(alike, key=rank) for at in sorted(alike[result], key=lambda at: -likelihoods[at])]
