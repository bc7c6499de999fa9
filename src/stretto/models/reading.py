"""Reading text into a cache, a bounded number of tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .contract import NOTHING, Evaluation, Model, Want
from .edits import Edit, edit
from .pictures import Pictures, show
from .store import Store
from .window import Window

CHUNK = 512  # tokens per evaluation: bounds the memory of activations


def whole() -> int:
    """The size of a chunk where nobody waits for its end."""
    return CHUNK


def read(
    model: Model,
    cache: Store,
    row: int,
    tokens: Sequence[int],
    want: Want,
    *,
    size: Callable[[], int] = whole,
    edits: tuple[Edit, ...] = (),
    pictures: Pictures = (),
) -> Iterator[tuple[Evaluation, int]]:
    """Evaluate tokens after those that a row of the cache holds: each evaluation with the position it begins at.

    `size` is asked before each; what is read is edited.
    """
    at = 0
    while at < len(tokens):
        chunk, start = tokens[at : at + size()], cache.following(row)
        window = Window.chain([row], [chunk], [start], model.device)
        if edits:
            edit(window, [edits])
        if pictures:
            show(window, pictures)
        yield model.evaluate(window, cache, want), start
        at += len(chunk)


def skip(model: Model, cache: Store, row: int, tokens: Sequence[int], **aids: Any) -> None:
    """The same where nothing is wanted but the cache."""
    for _ in read(model, cache, row, tokens, NOTHING, **aids):
        pass
