"""What each refresh computes, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from diffuse.canvases import answer, blank, context
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.evaluator import CanvasEvaluator
from stretto.diffuse.refresh.block_cache import BlockCache
from stretto.diffuse.refresh.dual import DualCache
from stretto.diffuse.refresh.prefix import PrefixCache
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable


def flat(block: int | None = None, shift: bool = False) -> MaskedTable:
    return MaskedTable(4, lambda position, seen: [0.0] * 4, Masking(3, shift, block))


@pytest.mark.parametrize(("refresh", "tokens"), [("recompute", 29184), ("prefix-cache", 10832), ("dual-cache", 4880)])
def test_the_reference_counts(refresh: str, tokens: int) -> None:
    """100 prompt tokens, 128 new ones in blocks of 32 and 128 steps."""
    text = f"low-confidence(steps=128)+blocks(32)+{refresh}"
    found = answer(flat(), [0] * 100, text, max_new_tokens=128, end_tokens=())
    assert found.counters.token_forwards == found.counters.layer_token_forwards == tokens
    assert found.counters.rounds == found.counters.row_forwards == 128


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The positions that each evaluation of one row computes, ascending."""
    seen: list[list[int]] = []
    real = CanvasEvaluator.evaluate

    def evaluate(self, views):
        logits, outputs = real(self, views)
        seen.extend(sorted(output.seen.rows.tolist()) for output in outputs)
        return logits, outputs

    monkeypatch.setattr(CanvasEvaluator, "evaluate", evaluate)
    return seen


def test_prefix_and_dual(computed) -> None:
    answer(flat(), [0, 1], "low-confidence+blocks(3)+prefix-cache", max_new_tokens=6, end_tokens=())
    assert computed == [[*range(8)], [*range(2, 8)], [*range(2, 8)], [*range(8)], [5, 6, 7], [5, 6, 7]]
    computed.clear()
    answer(flat(), [0, 1], "low-confidence+blocks(3)+dual-cache(every=2)", max_new_tokens=6, end_tokens=())
    assert computed == [[*range(8)], [2, 3, 4], [*range(8)], [*range(8)], [5, 6, 7], [*range(8)]]


@pytest.mark.parametrize("refresh", ["prefix-cache", "dual-cache"])
def test_a_block_that_is_filled_at_once_costs_one_forward(refresh: str) -> None:
    found = answer(flat(), [0, 1], f"threshold(0)+blocks(3)+{refresh}", max_new_tokens=6, end_tokens=())
    assert (found.counters.rounds, found.counters.token_forwards) == (2, 16)


def test_a_shifted_model_needs_the_row_on_the_left_while_the_first_position_is_open(computed) -> None:
    """Confidence is even, so positions are filled from the left."""
    model = flat(shift=True)
    answer(model, [0, 1], "low-confidence+blocks(2)+dual-cache", max_new_tokens=4, end_tokens=())
    assert computed == [[*range(6)], [2, 3], [*range(6)], [4, 5]]
    computed.clear()
    says = MaskedTable(4, lambda position, seen: [0.0, 9.0 * (position == 3), 0.0, 0.0], Masking(3, True))
    answer(says, [0, 1], "low-confidence+blocks(2)+dual-cache", max_new_tokens=2, end_tokens=())
    assert computed == [[0, 1, 2, 3], [1, 2, 3]]


def test_a_full_block_is_computed_once_more(computed) -> None:
    answer(flat(block=4), [0] * 5, "low-confidence+block-cache", max_new_tokens=9, end_tokens=())
    assert computed[0] == [*range(8)]  # the prompt's full block, and the open one with what the prompt has of it
    assert computed[1:3] == [[4, 5, 6, 7]] * 2
    assert computed[3] == [*range(4, 12)]
    assert computed[4:7] == [[8, 9, 10, 11]] * 3
    assert computed[7] == [*range(8, 14)] and computed[8] == [12, 13]  # the canvas ends inside a block


def test_what_is_taken_back_is_computed_again() -> None:
    canvas = blank(9, 3)
    window = Span(3, 6)
    for refresh, rest in ((PrefixCache(), [*range(3, 9)]), (DualCache(), [3, 4, 5])):
        session = refresh.open(canvas, context(flat()))
        session.begin_window(canvas, window)
        assert session.plan(canvas, window, window.positions).rows.tolist() == [*range(9)]
        session.learn(canvas, Delta({3: 0}, frozenset([1]), {0: 2}))
        assert session.plan(canvas, window, window.positions).rows.tolist() == [0, 1, *rest]
        assert session.plan(canvas, window, window.positions).rows.tolist() == rest


def test_a_settled_block_is_opened_again_with_all_that_saw_it() -> None:
    canvas = Canvas(np.array([0, 1, 2, 0, 1, 3]), Masking(3, block=2), 6, blank(1, 3).rule)
    session = BlockCache().open(canvas, context(flat(block=2)))
    window = Span(4, 6)
    assert session.plan(canvas, window, window.positions).rows.tolist() == [*range(6)]
    assert session.plan(canvas, window, window.positions).rows.tolist() == [4, 5]
    session.learn(canvas, Delta(revise={3: 1}))
    assert session.plan(canvas, window, window.positions).rows.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("part", [PrefixCache, DualCache])
def test_settings_out_of_range(part) -> None:
    with pytest.raises(InvalidRequest):
        part(every=-1)
