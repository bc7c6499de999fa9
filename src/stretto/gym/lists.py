"""Lists of numbers to be put in order, or to take one more in its place, as tokens: learnt in seconds.

Where one token of an answer is wrong, its neighbours tell: each number stands once, and none is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUMBERS = 32  # tokens 0 … 31 are the numbers
SORT, INSERT, COLON = NUMBERS, NUMBERS + 1, NUMBERS + 2
LENGTH = 24  # numbers of an answer, all different
ASKED = LENGTH + 2  # tokens of a question

Ids = NDArray[np.int64]


def drawn(rng: np.random.Generator, count: int) -> tuple[Ids, Ids]:
    """Questions [N, 26] and their answers [N, 24], about as many of either kind.

    `sort : 9 3 …` asks for numbers in order, `insert : 5 1 3 9 …` for those that are in order with the first in its
    place.
    """
    numbers = rng.random((count, NUMBERS)).argsort(1)[:, :LENGTH]
    questions = np.empty((count, ASKED), np.int64)
    questions[:, :2], questions[:, 2:] = (SORT, COLON), numbers
    inserted = rng.random(count) < 0.5
    questions[inserted, 0], questions[inserted, 3:] = INSERT, np.sort(numbers[inserted, 1:], 1)
    return questions, np.sort(numbers, 1)
