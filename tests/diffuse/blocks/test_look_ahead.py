"""Blocks whose window reaches into the next ones."""

from __future__ import annotations

import pytest

from diffuse.canvases import answer, blank
from stretto import method
from stretto.diffuse.blocks.look_ahead import LookAhead
from stretto.diffuse.canvas import Span
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

MODEL = MaskedTable.random_masked(6, 8, Masking(5), sharpness=2.0)
SETTINGS = {"max_new_tokens": 8, "end_tokens": (), "temperature": 0.8}


def test_the_window_begins_at_the_block_of_the_first_mask() -> None:
    canvas = blank(10, 2)
    blocking = LookAhead(3, 1).open(canvas, None)
    assert (blocking.window(canvas), canvas.front) == (Span(0, 6), Span(0, 3))
    canvas.filled[[0, 1, 2, 4]] = 0
    assert (blocking.window(canvas), canvas.front) == (Span(3, 9), Span(3, 6))
    canvas.filled[:8] = 0
    assert (blocking.window(canvas), canvas.front) == (Span(6, 10), Span(6, 9))
    canvas.filled[:] = 0
    assert blocking.window(canvas) is None


@pytest.mark.parametrize("rest", ["", "+dual-cache"])
@pytest.mark.parametrize("order", ["low-confidence", "threshold(0.4)", "local-leap(0.5,0.3)"])
def test_with_none_ahead_it_is_blocks(order: str, rest: str) -> None:
    plain = answer(MODEL, [0, 1], f"{order}+blocks(3){rest}", **SETTINGS)
    same = answer(MODEL, [0, 1], f"{order}+look-ahead(3,more=0){rest}", **SETTINGS)
    assert [s.positions for s in plain.steps] == [s.positions for s in same.steps] and plain.tokens == same.tokens
    further = answer(MODEL, [0, 1], f"{order}+look-ahead(3,more=1){rest}", **SETTINGS)
    assert [s.positions for s in plain.steps] != [s.positions for s in further.steps]


def test_a_model_that_was_trained_on_blocks_is_refused() -> None:
    causal = MaskedTable.random_masked(6, 8, Masking(5, block=4))
    with pytest.raises(Unsupported, match="follow full ones") as caught:
        method.check(method.parse("explore+look-ahead(4)"), causal)
    assert caught.value.hint
    for wrong in ({"size": 0}, {"more": -1}):
        with pytest.raises(InvalidRequest):
            LookAhead(**wrong)
