"""How much of a text repeats itself: looping text flatters every drafter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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
