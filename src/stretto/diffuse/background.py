"""How frequent each token is in a corpus, so that a prediction can be weighed against what any text would hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..context import Context
from ..errors import InvalidRequest
from ..speculate.datastore import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"


def frequencies(counts: NDArray[Any], vocabulary: int) -> Floats:
    """Shares of a corpus [V] from how often each token occurs there; one that never does is taken to occur once."""
    total = counts.sum()
    shares = np.full(vocabulary, 1 / total)
    seen = np.flatnonzero(counts)
    shares[seen] = counts[seen] / total
    return shares


def of_store(path: str, context: Context, ends: frozenset[int], padding: float) -> Floats:
    """The frequencies [V] in a datastore, `padding` end tokens counted for each of its documents.

    Worked out once for as long as nobody rebuilds it. Raises as `datastore.opened` does.
    """
    store = opened(path, context)
    vocabulary = context.target.vocabulary

    def counted() -> Floats:
        counts = np.zeros(vocabulary)
        known = np.diff(np.asarray(store.arrays["heads"], np.int64))[:vocabulary]  # suffixes by their first token
        counts[: len(known)] = known
        for end in ends:
            counts[end] += padding * store.about.documents / len(ends)
        return frequencies(counts, vocabulary)

    key = ("frequencies", str(store.folder), store.about.content, vocabulary, ends, padding)
    return context.remembered(np.ndarray, key, counted)


def require_padding(padding: float) -> None:
    """Raise InvalidRequest for a number of end tokens that no text has."""
    if not (padding >= 0 and math.isfinite(padding)):
        raise InvalidRequest(f"each text ends in {padding} end tokens", hint="0 or more; 1 without padding")
