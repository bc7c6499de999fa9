"""AR-ness by hand, by chance, and of real traces."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from diffuse.canvases import answer
from stretto.diagnose.arness import Order, order_of_records, random_order
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable, TableModel


def filled(*steps: list[int], opened: dict[int, list[int]] | None = None) -> Order:
    found = Order()
    found.add(
        {"position": 0, "committed": [0] * len(step), "positions": step, "remasked": (opened or {}).get(at, [])}
        for at, step in enumerate(steps)
    )
    return found


def test_an_order_by_hand() -> None:
    found = filled([0], [2], [1], [3])
    assert (found.global_(1), found.global_(2)) == (0.75, 1.0)
    assert (found.local(1), found.local(2), found.local(3)) == (1.0, 0.0, 0.0)
    some = filled([4], [5], [6], [0], [1], [9])
    assert some.local(2) == 3 / 5 and some.local(3) == 1 / 4 and some.local(4) == 0.0


def test_from_left_to_right_is_one_at_every_size() -> None:
    found = filled(*[[at] for at in range(9)])
    assert all(found.global_(size) == found.local(size) == 1.0 for size in (1, 2, 3, 8, 9))
    assert filled([0, 1, 2], [5, 3, 4]).global_(1) == 1.0  # what one step fills counts from left to right


def test_from_right_to_left() -> None:
    found = filled([3], [2], [1], [0])
    assert found.global_(1) == 0.25 and found.global_(3) == 0.75 and found.local(2) == 0.0


@pytest.mark.parametrize(("masks", "size"), [(4, 1), (4, 2), (5, 3), (6, 1)])
def test_what_chance_gives(masks: int, size: int) -> None:
    """Over all orders there are."""
    every = [filled(*[[at] for at in order]).global_(size) for order in permutations(range(masks))]
    assert random_order(masks, size) == pytest.approx(sum(every) / len(every))
    assert random_order(4, 1) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_what_is_opened_again_counts_again() -> None:
    found = filled([0], [1], [2], [0], opened={1: [0]})
    # 0 and 1 are the leftmost; then 0 is open again, and 2 comes before it; then 0
    assert found.commits == 4 and found.global_(1) == 0.75 and found.global_(2) == 1.0
    assert found.record()["global_of_random_orders"]["1"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2 + 1) / 4)


def slow_global(sequence: list[int], size: int) -> float:
    hits = 0
    for at, position in enumerate(sequence):
        hits += sum(other < position for other in sequence[at + 1 :]) < size
    return hits / len(sequence)


def slow_local(sequence: list[int], size: int) -> float:
    windows = [sequence[at : at + size] for at in range(len(sequence) - size + 1)]
    return sum(each == list(range(each[0], each[0] + size)) for each in windows) / len(windows)


@pytest.mark.parametrize("seed", range(5))
def test_by_definition(seed: int) -> None:
    rng = random.Random(seed)
    sequence = list(range(20))
    for _ in range(4):
        at = rng.randrange(16)
        sequence[at : at + 4] = rng.sample(sequence[at : at + 4], 4)
    found = filled(*[[at] for at in sequence])
    for size in (1, 2, 3, 5):
        assert found.global_(size) == pytest.approx(slow_global(sequence, size))
        assert found.local(size) == pytest.approx(slow_local(sequence, size))


def test_traces_of_a_model_that_fills_masks() -> None:
    model = MaskedTable.random_masked(6, 3, Masking(5), sharpness=2.0)
    settings = {"max_new_tokens": 12, "end_tokens": ()}
    free, blocked, row = (
        order_of_records([answer(model, [0, 1], text, **settings).record()])
        for text in ("low-confidence", "low-confidence+blocks(3)", "low-confidence+blocks(1)")
    )
    assert free.global_(1) < blocked.global_(1) < row.global_(1) == row.local(4) == 1.0
    again = answer(model, [0, 1], "remask-loop(5,3,0.5)", **settings)
    assert order_of_records([again.record()]).commits == sum(len(step.positions) for step in again.steps) > 12
    both = order_of_records([answer(model, [0, 1], text, **settings).record() for text in ("llada", "random-order")])
    assert both.commits == 24 and len(both.lengths) == 2


def test_traces_of_a_model_that_continues_text() -> None:
    found = answer(TableModel.random(5, 0), [0, 1], "lookup", max_new_tokens=10, end_tokens=())
    order = order_of_records([found.record()])
    assert order.commits == 10 and order.global_(1) == order.local(2) == 1.0


@pytest.mark.parametrize("record", [{}, {"steps": [{}]}, {"steps": [{"positions": [1]}, {"positions": [1]}]}])
def test_what_is_no_trace_is_refused(record) -> None:
    with pytest.raises(InvalidRequest, match="no trace"):
        order_of_records([record])
    with pytest.raises(InvalidRequest):
        Order().global_(0)


def test_nothing_filled_is_nothing() -> None:
    found = order_of_records([{"steps": [], "error": None}, {"error": "failed"}])
    assert found.global_(1) == found.local(2) == 0.0 and random_order(0, 1) == 0.0
