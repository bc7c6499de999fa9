"""Blocks of one size: where they begin and end, and how the canvas grows."""

from __future__ import annotations

import numpy as np
import pytest

from diffuse.canvases import answer, blank, context
from stretto.diffuse.blocks.fixed import Fixed
from stretto.diffuse.canvas import Canvas, Span
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

MASK = 9


def windows(given: list[int], limit: int, size: int, block: int | None = None) -> list[tuple[Span, int]]:
    """The windows of a row that fills each at once, and how long the canvas is in each."""
    canvas = Canvas(np.array(given), Masking(MASK, block=block), limit, blank(1, 2).rule)
    session = Fixed(size).open(canvas, context(MaskedTable.random_masked(3, 0, Masking(2))))
    found = []
    while (window := session.window(canvas)) is not None:
        assert len(canvas.masks(window))
        found.append((window, len(canvas)))
        for at in canvas.masks(window):
            canvas.ids[at], canvas.filled[at] = 0, 0
    assert len(canvas) == limit
    return found


def test_counted_from_the_prompt() -> None:
    assert windows([1, 2, 3], 10, 3) == [(Span(3, 6), 10), (Span(6, 9), 10), (Span(9, 10), 10)]
    assert windows([1, 2, 3], 10, 0) == [(Span(3, 10), 10)]


def test_counted_from_the_start_where_the_model_has_blocks() -> None:
    """A prompt of 37 and blocks of 32: the first block to fill has 5 tokens given."""
    (first, length), *rest = windows([1] * 37, 37 + 40, 0, 32)
    assert first == Span(32, 64) and length == 64
    assert rest == [(Span(64, 77), 77)]
    assert windows([1] * 4, 9, 0, 4) == [(Span(4, 8), 8), (Span(8, 9), 9)]


def test_blocks_in_parts() -> None:
    found = windows([1, 1, 1], 10, 2, 4)
    assert found == [(Span(2, 4), 4), (Span(4, 6), 8), (Span(6, 8), 8), (Span(8, 10), 10)]


def test_holes() -> None:
    given = [1, MASK, 2, 3, 4, 5, MASK, MASK, 6]
    assert windows(given, 9, 2) == [(Span(1, 3), 9), (Span(5, 7), 9), (Span(7, 9), 9)]
    assert windows(given, 9, 0, 4) == [(Span(0, 4), 9), (Span(4, 8), 9)]


def test_a_size_that_does_not_fit_the_model_is_refused() -> None:
    model = MaskedTable.random_masked(4, 0, Masking(3, block=4))
    with pytest.raises(Unsupported, match="blocks of 4"):
        answer(model, [0], "threshold+blocks(3)", max_new_tokens=3)
    with pytest.raises(InvalidRequest):
        Fixed(-1)
