"""How much an answer repeats itself, by its runs of tokens or words (as in arXiv 2504.14218)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence


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
