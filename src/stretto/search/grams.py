"""Which tokens follow a run of tokens in a text, and how often: counted once, looked up without loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..context import Context
from ..documents import counted
from ..errors import InvalidRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 5  # tokens of context

Integers: TypeAlias = "NDArray[np.int64]"


class Grams:
    """Counts of all runs of 1 to `longest` + 1 tokens of a text that lie within one document.

    A run is numbered among those of its length; its key is (number of the run without its last token) · V + last
    token. So a run is found by one binary search per token, and the followers of a run are neighbours.
    """

    def __init__(self, documents: Iterable[Sequence[int]], vocabulary: int, longest: int = LONGEST) -> None:
        """`vocabulary` V: an upper bound of the token ids; O(N log N) for N tokens."""
        self.vocabulary = vocabulary
        self.longest = longest
        arrays = [np.asarray(document, dtype=np.int64) for document in documents if len(document)]
        tokens = np.concatenate(arrays) if arrays else np.zeros(0, np.int64)  # [N]
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary:
            raise ValueError(f"token ids from {tokens.min()} to {tokens.max()}, and {vocabulary} tokens")
        ends = np.cumsum([len(array) for array in arrays], dtype=np.int64)
        left = np.repeat(ends, [len(array) for array in arrays]) - np.arange(len(tokens))  # to the document's end
        self._keys: list[Integers] = []  # per length less 1: sorted keys of the distinct runs
        self._counts: list[Integers] = []
        self._totals: list[Integers] = []  # how often each run one shorter has any follower
        numbers = np.zeros(len(tokens), np.int64)  # [N] number of the run of the length before that starts here
        for length in range(1, longest + 2):
            starts = np.flatnonzero(left >= length)
            keys = numbers[starts] * vocabulary + tokens[starts + length - 1]
            distinct, numbering, counts = np.unique(keys, return_inverse=True, return_counts=True)
            shorter = len(self._keys[-1]) if self._keys else 1
            self._keys.append(distinct)
            self._counts.append(counts)
            self._totals.append(np.bincount(distinct // vocabulary, counts, shorter).astype(np.int64))
            numbers[starts] = numbering

    def following(self, contexts: Integers, tokens: Integers, weights: Sequence[float]) -> NDArray[np.float64]:
        """Weighted sums of relative frequencies: contexts [K, C ≤ longest] newest last, tokens [K, n] -> [K, n].

        Entry (k, i) is the sum over m = 1 … min(C, len(weights)) of weights[m - 1] times how often tokens[k, i]
        followed the last m tokens of context k, relative to all that followed them; unseen contexts give 0. A context
        shorter than C begins with -1.
        """
        found = np.zeros(tokens.shape)
        for m in range(1, min(contexts.shape[1], len(weights), self.longest) + 1):
            numbers, seen = self._number(contexts[:, contexts.shape[1] - m :])
            at, held = _search(self._keys[m], numbers[:, None] * self.vocabulary + tokens)
            held &= seen[:, None]
            if held.any():
                totals = self._totals[m][numbers][:, None]
                found += np.where(held, weights[m - 1] * self._counts[m][at] / np.where(held, totals, 1), 0.0)
        return found

    def _number(self, runs: Integers) -> tuple[Integers, NDArray[np.bool_]]:
        """Numbers of runs [K, m] among those of their length, and which of them occur at all."""
        numbers, seen = np.zeros(len(runs), np.int64), np.ones(len(runs), np.bool_)
        for at in range(runs.shape[1]):
            keys = np.where(runs[:, at] >= 0, numbers * self.vocabulary + runs[:, at], -1)
            numbers, held = _search(self._keys[at], keys)
            seen &= held
        return numbers, seen


def _search(keys: Integers, wanted: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Places of the wanted keys in the sorted keys, and which are there; 0 where not."""
    if not len(keys):
        return np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    held = keys[at] == wanted
    return np.where(held, at, 0), held


def count(text: str | Grams, context: Context) -> Grams:
    """The n-grams of a text; see `counted`. Raises as that does, and InvalidRequest where the text is empty."""
    if isinstance(text, Grams):
        return text

    def grams(documents: list[list[int]]) -> Grams:
        if not any(documents):
            raise InvalidRequest(f"there is no text in {text}", hint="name a text file or a folder of *.txt files")
        return Grams(documents, context.target.vocabulary)

    return counted(Grams, text, context, grams)
