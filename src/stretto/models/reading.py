"""Reading text into a cache, a bounded number of tokens at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .cache import Cache
from .contract import NOTHING, Evaluation, Model, Want
from .window import Window

CHUNK = 512  # tokens per evaluation: bounds the memory of activations


def read(
    model: Model, cache: Cache, row: int, tokens: Sequence[int], want: Want, *, size: int = CHUNK
) -> Iterator[tuple[Evaluation, int]]:
    """Evaluate tokens after those that a row of the cache holds: each evaluation with the position it begins at."""
    for at in range(0, len(tokens), size):
        start = cache.length(row)
        window = Window.chain([row], [tokens[at : at + size]], [start], model.device)
        yield model.evaluate(window, cache, want), start


def skip(model: Model, cache: Cache, row: int, tokens: Sequence[int], *, size: int = CHUNK) -> None:
    """The same where nothing is wanted but the cache."""
    for _ in read(model, cache, row, tokens, NOTHING, size=size):
        pass
