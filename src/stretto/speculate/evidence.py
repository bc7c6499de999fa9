"""What speaks for a guess, and how likely that makes it: learnt weights of independent signs, added as log odds.

A sign is one thing that is seen of a guess: that it followed the last three tokens in this text each time, that it
was among the target's best after this token. Each has a weight; what a guess's signs weigh together is the logarithm
of its odds (mixing in the logistic domain, Mahoney 2005). The weights begin as they came out for recorded answers, and
move with what is committed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from .grams import Counts

OWN, EARLIER = 6, 4  # tokens of the longest contexts that are counted, in the text and in earlier answers
KINDS = 6  # of counts, see `kind`
SHARES = (0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)  # bounds of classes of the target's shares
RANKED = len(SHARES) + 1
RATE = 0.02  # how far a weight moves for each guess that was judged, of what it was wrong by

# Signs by number: counts in the text by order and kind, the same in earlier answers, shares after one token and after
# two, two or three of these at once.
IN_EARLIER = OWN * KINDS
AFTER_ONE = IN_EARLIER + EARLIER * KINDS
AFTER_TWO = AFTER_ONE + RANKED
BOTH_COUNTED, OWN_AND_RANKED, EARLIER_AND_RANKED, ALWAYS = range(AFTER_TWO + RANKED, AFTER_TWO + RANKED + 4)
SIGNS = ALWAYS + 1


def kind(count: int, total: int) -> int:
    """Of a follower that came `count` of `total` times: once of once, always, mostly, often, or seldom."""
    if total == 1:
        return 0
    if count == total:
        return 1 if total < 4 else 2
    return 3 if 2 * count >= total else 4 if 5 * count >= total else 5


def share_class(share: float) -> int:
    """The class of a share of the target's ranking, 0 … RANKED - 1."""
    return bisect_left(SHARES, share)


def signs(own: Sequence[Counts], earlier: Sequence[Counts], ranked: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """The signs of each token that anything speaks for: by the longest contexts that it followed, and its rank.

    `own` and `earlier` are of contexts of 1, 2, 3 … tokens; `ranked` are tokens and the sign of each.
    """
    found: dict[int, list[int]] = {}
    for order in range(len(own) - 1, -1, -1):
        total, counts = own[order]
        for token, count in counts:
            if token not in found:
                found[token] = [ALWAYS, order * KINDS + kind(count, total)]
    counted = set(found)
    elsewhere: set[int] = set()
    for order in range(len(earlier) - 1, -1, -1):
        total, counts = earlier[order]
        for token, count in counts:
            if token not in elsewhere:
                elsewhere.add(token)
                sign = IN_EARLIER + order * KINDS + kind(count, total)
                if token in counted:
                    found[token] += (sign, BOTH_COUNTED)
                else:
                    found[token] = [ALWAYS, sign]
    for token, sign in ranked:
        mine = found.setdefault(token, [ALWAYS])
        mine.append(sign)
        if token in counted:
            mine.append(OWN_AND_RANKED)
        if token in elsewhere:
            mine.append(EARLIER_AND_RANKED)
    return found


USUAL = (  # as they came out for recorded answers of SmolLM2-135M to eleven kinds of prompts
    *(1.1, 1.3, 1.8, 0.5, 0.0, -0.7),
    *(1.9, 1.8, 2.0, 0.9, 0.0, -1.1),
    *(2.5, 2.0, 2.4, 0.9, 0.3, -0.6),
    *(2.5, 2.3, 2.7, 1.3, 0.6, -0.3),
    *(2.8, 2.5, 3.1, 1.7, 1.0, 0.1),
    *(3.7, 3.4, 3.6, 2.1, 1.4, 0.5),
    # in earlier answers
    *(-0.3, 0.4, 1.2, -0.1, -0.4, -1.6),
    *(0.1, 0.8, 1.7, 0.5, -0.6, -1.5),
    *(0.7, 1.3, 2.2, 0.7, -0.1, -0.6),
    *(1.8, 2.4, 2.8, 1.6, 0.6, -0.3),
    # of the target's ranking after one token and after two, by share
    *(-1.5, -1.1, -0.7, -0.3, 0.2, 0.5, 0.8, 0.9, 1.0, 1.3),
    *(-1.5, -1.1, -0.7, -0.5, 0.2, 0.4, 0.6, 0.8, 1.1, 1.7),
    # several of these, always
    *(1.1, 0.2, 0.3, -2.7),
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
