"""How much of an answer each round settled, and how few rounds could have (arXiv 2511.21103).

A token that is filled with probability p settles −ln p nats. One a round, they sum up to −ln p of the whole answer, in
whatever order. Filled together, they sum up to what the product of the marginals says of it: less or more by how much
the tokens depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidRequest
from ..generation import Step


@dataclass(frozen=True, slots=True)
class Bits:
    """The rounds of one answer."""

    rounds: tuple[float, ...]  # nats that each settled

    @property
    def total(self) -> float:
        """Nats of the whole answer, as it was filled."""
        return math.fsum(self.rounds)

    @property
    def largest(self) -> float:
        """Nats of the round that settled most: the budget that was used."""
        return max(self.rounds, default=0.0)

    @property
    def least_rounds(self) -> float:
        """No fewer rounds can settle so much where none settles more than `largest`; 0 where nothing was open."""
        return self.total / self.largest if self.largest else 0.0


def bits_of(steps: Sequence[Step]) -> Bits:
    """From the trace of an answer: what was filled in each round, with its raw probability.

    Raises InvalidRequest where a probability is missing, as where a stop filled what was never computed.
    """
    if any(math.isnan(each) for step in steps for each in step.confidence):
        raise InvalidRequest("a token was filled whose probability is unknown", hint="decode with the stop 'fill'")
    if any(len(step.confidence) != len(step.committed) for step in steps):
        raise InvalidRequest("the trace holds no probabilities", hint="decode with a method that fills masks")
    return Bits(tuple(math.fsum(-math.log(each) for each in step.confidence) for step in steps))


def threshold_budget(filled: int, least: float) -> float:
    """The most nats that a round settles which fills so many tokens of probability `least` or more."""
    return -filled * math.log(least)
