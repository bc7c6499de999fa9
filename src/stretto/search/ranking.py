"""The best of many continuations, ties broken in one way."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class Continuation(NamedTuple):
    """A branch and its next token."""

    branch: int
    token: int
    score: float


def likeliest(weights: Tensor, most: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The `most` largest of each row [n, V], best first: values [n, k] and tokens; of equals the lowest token first."""
    size = min(most, weights.shape[-1])
    least = weights.topk(size).values[:, -1:]
    values, tokens = np.empty((len(weights), size)), np.empty((len(weights), size), np.int64)
    for line, (row, able) in enumerate(zip(weights, weights >= least, strict=True)):
        found = able.nonzero()[:, 0]  # ascending, a few too many where the last are equal
        order = row[found].argsort(descending=True, stable=True)[:size]
        tokens[line] = found[order].cpu().numpy()
        values[line] = row[found[order]].cpu().numpy()
    return values, tokens


def best_continuations(
    scores: NDArray[Any], tokens: NDArray[Any], width: int, ends: Collection[int]
) -> list[Continuation]:
    """The best `width` that go on and those among the best `width` that end; best first.

    scores [n, k] of the branches with the tokens [n, k]; −inf: not possible. Of equals the first branch comes first.
    """
    found: list[Continuation] = []
    going = 0
    for place, flat in enumerate(np.argsort(-scores, axis=None, kind="stable").tolist()):
        branch, at = divmod(flat, scores.shape[1])
        token, score = int(tokens[branch, at]), float(scores[branch, at])
        if score == -np.inf or going == width:
            break
        if token not in ends:
            going += 1
        elif place >= width:
            continue
        found.append(Continuation(branch, token, score))
    return found
