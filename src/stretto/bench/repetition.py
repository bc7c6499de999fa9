"""How much of a text repeats itself: looping text flatters every drafter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

RUN = 8  # tokens of a run that must not come twice
LIMIT = 0.2  # outputs with a greater share are left out


def repeated_share(tokens: Sequence[int], run: int = RUN) -> float:
    """The share of tokens, in [0, 1], that lie in a run of `run` tokens which the output holds twice or more.

    All occurrences count, the first as well; a text shorter than a run repeats nothing.
    """
    runs = [tuple(tokens[at : at + run]) for at in range(len(tokens) - run + 1)]
    counts = Counter(runs)
    covered = 0
    until = 0  # tokens before this have been looked at
    for at, found in enumerate(runs):
        if counts[found] > 1:
            covered += at + run - max(at, until)
            until = at + run
    return covered / len(tokens) if tokens else 0.0


def repeated_grams(tokens: Sequence[Hashable], size: int) -> float:
    """Of all runs of `size` tokens or words, the share that are no first ones: 1 − distinct ones / all of them."""
    grams = _grams(tokens, size)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def gram_entropy(tokens: Sequence[Hashable], size: int) -> float:
    """The entropy of runs of `size` tokens or words, as a share of what it is where all differ: 0 to 1."""
    grams = _grams(tokens, size)
    if len(grams) < 2:
        return 0.0
    shares = [count / len(grams) for count in Counter(grams).values()]
    return -sum(share * math.log(share) for share in shares) / math.log(len(grams))


def _grams(tokens: Sequence[Hashable], size: int) -> list[tuple[Hashable, ...]]:
    return [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]
