"""Sequential Monte Carlo: drawn answers with weights, of which unlikely ones are replaced by copies of likely ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, NothingAllowed, Unsupported
from ..models.contract import Model
from ..speculate.chance import KeyedChance
from ..steer.constrained import constrained_by
from ..steer.pipeline import Pipeline
from ..steer.truncation import Truncation
from .branches import Branches
from .contract import Branch, Group, Searching
from .scorer import Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmenter import Segmenter
from .segmenters import Every
from .segmentwise import Segmenting, Segmentwise
from .tried import Tried, missing
from .within import UNBOUNDED, Within

ENTRIES = (
    Entry(
        name="constrained-smc",
        family="search",
        source="arXiv 2504.13139 and 2504.05410; code github.com/genlm/genlm-control",
        parts="smc",
        guarantee=Guarantee.APPROXIMATE,
        summary="valid answers as likely as the model itself finds them among all valid ones, by weighted particles",
    ),
    Entry(
        name="awrs",
        family="search",
        source="arXiv 2504.05410; code github.com/genlm/genlm-control",
        parts="smc(whole=false)",
        guarantee=Guarantee.APPROXIMATE,
        summary="valid answers whose tokens are tried one by one instead of masked, with weights without bias: for "
        "constraints whose masks are dear",
    ),
    Entry(
        name="power-smc",
        family="search",
        source="arXiv 2602.10273; code github.com/ArminAzizi98/Power-SMC",
        parts="smc(alpha=4)",
        guarantee=Guarantee.APPROXIMATE,
        number=72,
        summary="answers from a power of what the model says of whole answers; draws best at temperature 1 / alpha",
    ),
    Entry(
        name="reward-smc",
        family="search",
        source="arXiv 2604.16453",
        parts="smc(beta=1)",
        guarantee=Guarantee.APPROXIMATE,
        number=51,
        confirmed=False,
        summary="answers from the model's distribution times a power of e by a scorer, prefix-only targets",
    ),
)

RESAMPLING, DRAWING = (1 << 40) + 2, (1 << 40) + 3  # beyond all token ids: draws no one else makes
OFTEN = Every(16)


@dataclass(frozen=True, slots=True)
class Particles(Segmentwise):
    """Draws from p(y) ** alpha · exp(beta · scorer(y)), over the answers y that steers and constraint leave possible.

    p is the model itself, at temperature 1. Temperature, steers and constraint say how tokens are proposed, and the
    weights make up for it: exactly as `particles` grow without bound. The first answer is drawn by weight, the next
    ones by weight among the others. One that a constraint found unfinished gives way to those that have ended.
    """

    particles: int = 8  # ≥ 1, branches; no fewer than answers are asked for
    alpha: float = 1.0  # > 0, power of the model's probability of a whole answer
    beta: float = 0.0  # ≥ 0, per unit of the scorer; 0: it is not asked
    scorer: Scorer = LIKELIHOOD
    segmenter: Segmenter = OFTEN
    least: float = 0.5  # 0 to 1; resampled where the effective number of particles is below this share of them
    whole: bool = True  # a constraint is asked for its masks; False: about single tokens, and the masks are estimated
    ramp: int = 0  # ≥ 0, tokens over which the power grows from 1 to alpha
    within: Within = UNBOUNDED

    name: ClassVar[str] = "smc"

    def __post_init__(self) -> None:
        if self.particles < 1 or self.ramp < 0 or not 0 <= self.least <= 1:
            raise InvalidRequest(
                f"{self.particles} particles, a ramp of {self.ramp} tokens, resampled below {self.least}",
                hint="at least 1; from 0; from 0 to 1",
            )
        if not 0 < self.alpha < math.inf or not 0 <= self.beta < math.inf:
            raise InvalidRequest(f"alpha {self.alpha}, beta {self.beta}", hint="numbers above 0, and from 0")

    def rows(self, samples: int) -> int:
        return max(self.particles, samples)

    @property
    def hears(self) -> bool:
        return True

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        super(Particles, self).check(model, pipeline, samples)
        if cut := next((step.name for step in pipeline.steps if isinstance(step, Truncation)), None):
            raise Unsupported(
                f"no weight brings back what {cut} removes from the answers of {self.name}",
                hint="leave it out; a lower temperature proposes likely tokens as well",
            )

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Weighing(self, context, branches)


class Weighing(Segmenting):
    """Particles at work. The score of a branch is what its weight stood at when all were made equal: see `weigh`."""

    search: Particles

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if not group.streams and not self.search.whole):
            group.first.rule = replace(group.first.rule, pipeline=constrained_by(group.first.rule.pipeline, Tried))
        super().grow(groups)

    def settle(self, group: Group) -> None:
        for branch in () if self.search.whole else group.alive:
            if branch.row is not None:
                branch.owed = missing(branch.row.history)
        super().settle(group)

    def weigh(self, group: Group) -> dict[Branch, float]:
        """The natural logarithm of each particle's weight, in the order in which they were begun.

        The mean of the weights at the end estimates without bias what the target sums to over all answers.
        """
        search = self.search
        everyone = sorted([*group.finished, *group.alive], key=lambda branch: branch.number)
        if search.beta:
            super().rank(group)
        longest = max(len(branch.tokens) for branch in everyone)
        grown = 1.0 if not group.alive or longest >= search.ramp else longest / search.ramp
        power = 1.0 + (search.alpha - 1.0) * grown
        weights = {}
        for branch in everyone:
            target = power * sum(said.raw for said in branch.reports)
            target += search.beta * branch.worth if search.beta else 0.0
            proposed = sum(said.steered for said in branch.reports) - branch.owed
            weights[branch] = target - proposed - branch.score
        if max(weights.values()) == -math.inf:
            raise NothingAllowed(f"the scorer leaves none of {len(everyone)} particles", hint="take more of them")
        return weights

    def parents(self, group: Group) -> list[Branch]:
        weights = self.weigh(group)
        everyone = list(weights)
        if effective(list(weights.values())) >= self.search.least * len(everyone):
            return everyone
        mean = log_sum(list(weights.values())) - math.log(len(everyone))
        start = KeyedChance(group.first.rule, group.streams, RESAMPLING).uniform()
        chosen = [everyone[at] for at in resampled(list(weights.values()), start)]
        for parent in set(chosen):
            parent.score += weights[parent] - mean  # all weigh the same from here on
        return chosen

    def rank(self, group: Group) -> None:
        """Let the worths be such that the order is drawn by weight."""
        bound = group.first.rule.pipeline.constraint is not None
        weights = self.weigh(group)
        whole = [branch for branch in weights if not (bound and branch.finish == "length")]
        for branch, weight in weights.items():
            draw = KeyedChance(group.first.rule, branch.number, DRAWING).uniform()
            branch.worth = weight - math.log(-math.log(draw)) if branch in whole or not whole else -math.inf


def log_sum(logs: Sequence[float]) -> float:
    """The logarithm of the sum of what these are the logarithms of; not all −inf."""
    largest = max(logs)
    return largest + math.log(sum(math.exp(each - largest) for each in logs))


def effective(logs: Sequence[float]) -> float:
    """How many particles of equal weight would be as good: 1 / Σ w² of the weights, normalised."""
    return math.exp(2 * log_sum(logs) - log_sum([2 * each for each in logs]))


def resampled(logs: Sequence[float], start: float) -> list[int]:
    """Systematic resampling: numbers of particles, ascending, each about as often as its share; 0 < `start` < 1."""
    total, size, reached, found = log_sum(logs), len(logs), 0.0, list[int]()
    for at, each in enumerate(logs):
        reached += math.exp(each - total) * size
        while len(found) < size and start + len(found) < reached:
            found.append(at)
    return found + [max(range(size), key=logs.__getitem__)] * (size - len(found))  # where the sum was rounded
