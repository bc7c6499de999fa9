"""What speaks for a guess, and how likely that makes it: learnt weights of independent signs, added as log odds.

A sign is one thing that is seen of a guess: that it followed the last three tokens in this text each time, that it
followed the last one in half of the earlier answers. Each has a weight; what a guess's signs weigh together is the
logarithm of its odds (mixing in the logistic domain, Mahoney 2005). The weights begin as they came out for recorded
answers, and move with what is committed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .grams import Counts

OWN, EARLIER = 6, 4  # tokens of the longest contexts that are counted, in the text and in earlier answers
KINDS = 6  # of counts, see `kind`
RATE = 0.02  # how far a weight moves for each guess that was judged, of what it was wrong by

# Signs by number: counts in the text by order and kind, the same in earlier answers, both at once, and what is always.
IN_EARLIER = OWN * KINDS
BOTH = IN_EARLIER + EARLIER * KINDS
ALWAYS = BOTH + 1
SIGNS = ALWAYS + 1


def kind(count: int, total: int) -> int:
    """Of a follower that came `count` of `total` times: once of once, always, mostly, often, or seldom."""
    if total == 1:
        return 0
    if count == total:
        return 1 if total < 4 else 2
    return 3 if 2 * count >= total else 4 if 5 * count >= total else 5


def signs(own: Sequence[Counts], earlier: Sequence[Counts]) -> dict[int, list[int]]:
    """The signs of each token that anything speaks for: by the longest contexts that it followed.

    `own` and `earlier` are of contexts of 1, 2, 3 … tokens.
    """
    found: dict[int, list[int]] = {}
    for order in range(len(own) - 1, -1, -1):
        total, counts = own[order]
        for token, count in counts:
            if token not in found:
                found[token] = [ALWAYS, order * KINDS + kind(count, total)]
    here, elsewhere = set(found), set()
    for order in range(len(earlier) - 1, -1, -1):
        total, counts = earlier[order]
        for token, count in counts:
            if token not in elsewhere:
                elsewhere.add(token)
                sign = IN_EARLIER + order * KINDS + kind(count, total)
                found[token] = [*found[token], sign, BOTH] if token in here else [ALWAYS, sign]
    return found


USUAL = (  # as they came out for recorded answers of SmolLM2-135M to eleven kinds of prompts
    *(0.9, 1.5, 2.0, 0.2, -0.6, -1.3),
    *(1.9, 2.3, 2.2, 0.7, -0.3, -1.2),
    *(2.4, 2.4, 2.5, 0.8, 0.2, -0.7),
    *(2.4, 2.6, 2.8, 1.1, 0.5, -0.3),
    *(2.7, 2.7, 3.1, 1.6, 0.8, 0.1),
    *(3.4, 3.7, 3.7, 1.8, 1.2, 0.5),
    # in earlier answers
    *(-0.3, 0.4, 1.3, -0.4, -0.9, -2.2),
    *(0.3, 1.0, 1.7, 0.4, -0.9, -1.9),
    *(0.7, 1.2, 2.3, 0.3, -0.5, -1.0),
    *(1.8, 2.5, 2.9, 1.4, 0.2, -0.7),
    # both, always
    *(1.7, -2.0),
)


class Weights:
    """What each sign weighs, in log odds."""

    def __init__(self) -> None:
        self.weights = list(USUAL)

    def chance(self, signs: Iterable[int]) -> float:
        """How likely a guess is of which these signs are seen."""
        weights = self.weights
        return 1 / (1 + math.exp(-sum([weights[sign] for sign in signs])))

    def learn(self, signs: Iterable[int], chance: float, right: bool) -> None:
        """A guess that was given this chance was right, or not."""
        step = RATE * (right - chance)
        for sign in signs:
            self.weights[sign] += step

    def copy(self) -> Weights:
        twin = Weights()
        twin.weights = self.weights.copy()
        return twin
