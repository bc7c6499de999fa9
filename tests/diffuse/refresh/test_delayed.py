"""The delayed caches: which rows each step computes, and what the delay is for."""

from __future__ import annotations

import numpy as np
import pytest

from diffuse.canvases import answer, blank, context
from diffuse.refresh.test_refreshes import computed, flat
from models.masked_checkpoints import save
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.refresh.delayed import DelayedCache
from stretto.diffuse.refresh.greedy import GreedyCache
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.load import load
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

__all__ = ["computed"]  # the fixture
MASK = 3
TABLE = MaskedTable.random_masked(4, 1, Masking(MASK), sharpness=2.5)


def test_a_filled_position_is_computed_once_more_and_then_kept(computed) -> None:
    """Eight positions, filled from the left as confidence is even; the prompt is read once."""
    method = "low-confidence+delayed-cache(every=0,warm=1,prompt=true)"
    answer(flat(), [0, 1], method, max_new_tokens=8, end_tokens=())
    assert computed[0] == [*range(10)]
    assert [len(rows) for rows in computed[1:]] == [8, 7, 6, 5, 4, 3, 2]
    for step, rows in enumerate(computed[1:], start=1):
        assert rows == [*range(1 + step, 10)]  # position 1 + step was filled at the step before


def test_when_everything_is_computed(computed) -> None:
    answer(flat(), [0, 1], "low-confidence+delayed-cache(every=3)", max_new_tokens=8, end_tokens=())
    assert [len(rows) for rows in computed] == [10, 10, 7, 6, 10, 4, 3, 10]
    computed.clear()
    answer(flat(), [0, 1], "low-confidence+blocks(4)+delayed-cache(every=0,warm=1)", max_new_tokens=8, end_tokens=())
    assert [len(rows) for rows in computed] == [10, 8, 7, 6, 10, 4, 3, 2]
    computed.clear()
    method = "low-confidence+blocks(4)+delayed-cache(every=0,warm=1,prompt=true)"
    answer(flat(), [0, 1], method, max_new_tokens=8, end_tokens=())
    assert [len(rows) for rows in computed] == [10, 8, 7, 6, 8, 4, 3, 2]


def test_the_mean_cost_is_half() -> None:
    """An answer much longer than its prompt: the masks are half of it on average."""
    settings = {"max_new_tokens": 64, "end_tokens": ()}
    full = answer(flat(), [0], "low-confidence", **settings).counters.token_forwards
    kept = answer(flat(), [0], "low-confidence+delayed-cache(every=0)", **settings).counters.token_forwards
    assert 1.8 < full / kept < 2.1


def test_without_the_delay_it_is_another_result() -> None:
    """The model tells whether it sees the token or still the mask of the position that was filled last."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        return [1.0, 3.0 * (seen.get(position - 1) == 1 or position == 1), 0.0, 0.0]

    model = MaskedTable(4, says, Masking(MASK))
    settings = {"max_new_tokens": 5, "end_tokens": ()}
    truth = answer(model, [0], "low-confidence+blocks(5)", **settings)
    kept = answer(model, [0], "low-confidence+blocks(5)+delayed-cache(every=0,warm=1)", **settings)
    late = answer(model, [0], "low-confidence+blocks(5)+delayed-cache(every=0,warm=1,delay=0)", **settings)
    assert truth.tokens == kept.tokens == [1] * 5 and late.tokens != truth.tokens


def test_what_is_taken_back_is_computed_again() -> None:
    canvas = Canvas(np.array([0, 1, 2, 0, MASK, MASK]), Masking(MASK), 6, blank(1, MASK).rule)
    canvas.filled[1:4] = 0
    session = DelayedCache(warm=1).open(canvas, context(TABLE))
    window = Span(1, 6)
    assert len(session.plan(canvas, window, canvas.masks(window)).rows) == 6
    assert session.plan(canvas, window, canvas.masks(window)).rows.tolist() == [4, 5]
    session.learn(canvas, Delta({4: 1}, frozenset([2]), {3: 1}))
    assert session.plan(canvas, window, canvas.masks(window)).rows.tolist() == [2, 3, 4, 5]


# -- greedy -------------------------------------------------------------------------------------------


def test_rows_around_what_is_filled(computed) -> None:
    """The position filled before, the one filled now, and two on either side of it."""
    found = answer(flat(), [0, 1], "first-hitting+greedy-cache(every=0)", max_new_tokens=12, end_tokens=())
    filled = [step.positions[0] for step in found.steps]
    assert computed[0] == [*range(14)]
    for before, now, rows in zip(filled[:-1], filled[1:], computed[1:], strict=True):
        assert rows == sorted({before} | {at for at in range(now - 2, now + 3) if at < 14})


def test_the_period_and_the_cost(computed) -> None:
    answer(flat(), [0, 1], "random-order+greedy-cache(width=0)", max_new_tokens=6, end_tokens=())
    assert [len(rows) for rows in computed] == [8, 2, 8, 2, 8, 2]
    counts = {
        size: answer(
            flat(), [0], "random-order+greedy-cache(every=0)", max_new_tokens=size, end_tokens=()
        ).counters.token_forwards
        for size in (16, 32, 64)
    }
    assert counts[64] < 64 * 8 and counts[64] - counts[32] <= 2.3 * (counts[32] - counts[16])  # linear in the length


def test_an_order_that_waits_for_the_model_is_refused() -> None:
    with pytest.raises(Unsupported, match="must know before") as caught:
        answer(TABLE, [0], "low-confidence+greedy-cache", max_new_tokens=4)
    assert "random-order" in caught.value.hint


@pytest.mark.parametrize("order", ["random-order", "random-order(steps=3)", "first-hitting"])
def test_what_is_foreseen_is_what_is_filled(order: str) -> None:
    """The same positions, tokens and draws as where the order sees all predictions."""
    settings = {"max_new_tokens": 9, "end_tokens": (), "temperature": 0.9, "seed": 2}
    for blocks in ("blocks(9)", "blocks(4)", "adaptive-blocks(2,size=4)"):
        plain = answer(TABLE, [0, 1], f"{order}+{blocks}", **settings)
        ahead = answer(TABLE, [0, 1], f"{order}+{blocks}+greedy-cache(every=1)", **settings)
        assert ahead.tokens == plain.tokens and [s.positions for s in ahead.steps] == [s.positions for s in plain.steps]


# -- both ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_computed_at_each_step_it_is_no_cache(name: str, tmp_path) -> None:
    """Bit for bit, but for the kernel of the head, where fewer logits are asked for."""
    model = load(save(name, tmp_path)).model
    settings = {"max_new_tokens": 10, "end_tokens": (), "temperature": 0.7}
    for order, cache, gap in (("low-confidence+blocks(5)", "delayed-cache", 0), ("random-order", "greedy-cache", 1e-6)):
        plain, fresh, stale = (
            answer(model, [[5, 7, 9, 11, 3], [4, 8]], order + rest, **settings)
            for rest in ("", f"+{cache}(every=1)", f"+{cache}(every=0)")
        )
        for one, other, kept in zip(plain, fresh, stale, strict=True):
            assert one.tokens == other.tokens
            confidences = [[sure for step in each.steps for sure in step.confidence] for each in (one, other)]
            assert confidences[0] == pytest.approx(confidences[1], abs=gap, rel=0)
            assert kept.counters.token_forwards < one.counters.token_forwards
        assert [s.confidence for s in plain[0].steps] != [s.confidence for s in stale[0].steps]


def test_settings_out_of_range() -> None:
    for part, wrong in (
        (DelayedCache, {"every": -1}),
        (DelayedCache, {"warm": 0}),
        (DelayedCache, {"delay": 2}),
        (GreedyCache, {"every": -1}),
        (GreedyCache, {"width": -1}),
    ):
        with pytest.raises(InvalidRequest):
            part(**wrong)
