"""LocalLeap: anchors, their neighbourhoods, and where it becomes the threshold order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from diffuse.canvases import answer, blank, by_confidence, chosen, predict
from stretto.diffuse.canvas import Span
from stretto.diffuse.orders.local_leap import LocalLeap
from stretto.diffuse.orders.threshold import Threshold
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

CASE = by_confidence([0.95, 0.80, 0.70, 0.76, 0.76, 0.50, 0.3, 0.3, 0.3, 0.80], 6)


def taken(order: LocalLeap, probabilities: list[list[float]]) -> set[int]:
    return set(chosen(order, probabilities).commit)


def test_near_an_anchor_less_certainty_will_do() -> None:
    assert taken(LocalLeap(), CASE) == {0, 1, 3, 4}
    assert taken(LocalLeap(radius=3), CASE) == {0, 1, 3}
    assert taken(LocalLeap(radius=0), CASE) == {0}


def test_without_anchors_one_position() -> None:
    assert taken(LocalLeap(), by_confidence([0.5, 0.89, 0.88])) == {1}
    assert taken(LocalLeap(radius=99), by_confidence([0.5, 0.89, 0.88])) == {1}


def test_the_neighbourhoods_of_two_anchors_are_joined() -> None:
    sure = [0.8, 0.95, 0.8, 0.8, 0.8, 0.8, 0.95, 0.8]
    assert taken(LocalLeap(radius=1), by_confidence(sure)) == {0, 1, 2, 5, 6, 7}


def test_what_is_taken_grows_with_the_radius_and_as_less_is_asked() -> None:
    chance = np.random.default_rng(2)
    for _ in range(20):
        probabilities = by_confidence(chance.uniform(0.5, 1, 12).tolist())
        by_radius = [taken(LocalLeap(radius=radius), probabilities) for radius in (0, 1, 3, 8)]
        assert all(less <= more for less, more in pairwise(by_radius))
        by_near = [taken(LocalLeap(near=near), probabilities) for near in (0.9, 0.8, 0.6, 0.0)]
        assert all(less <= more for less, more in pairwise(by_near))
        assert by_near[0] == set(chosen(Threshold(), probabilities).commit)


def test_filled_positions_can_stay_anchors() -> None:
    canvas = blank(6, 6)
    canvas.ids[0], canvas.filled[0], canvas.sure[0] = 0, 0, 0.95
    canvas.ids[5], canvas.filled[5], canvas.sure[5] = 0, 0, 0.6  # not surely filled: no anchor
    prediction = predict(canvas, by_confidence([0.7, 0.8, 0.5, 0.85], 6))
    found = {}
    for filled in (False, True):
        ordering = LocalLeap(radius=2, filled=filled).open(canvas, None)
        found[filled] = set(ordering.choose(canvas, prediction, Span(0, 6)).commit)
    assert found == {False: {4}, True: {2}}


def test_neighbourhoods_end_with_the_block() -> None:
    """Position 2 was surely filled, in the block before: it is no anchor of this one."""
    canvas = blank(6, 6)
    canvas.ids[2], canvas.filled[2], canvas.sure[2] = 0, 0, 0.95
    for window, expected in ((Span(3, 6), {4}), (Span(0, 6), {3, 4})):
        ordering = LocalLeap(filled=True).open(canvas, None)
        prediction = predict(canvas, by_confidence([0.5, 0.5, 0.8, 0.85, 0.5], 6))
        delta = ordering.choose(canvas, prediction.at(canvas.masks(window)), window)
        assert set(delta.commit) == expected


@pytest.mark.parametrize("rest", ["", "+blocks(3)", "+blocks(3)+dual-cache"])
def test_with_one_measure_for_all_it_is_the_threshold_order(rest: str) -> None:
    model = MaskedTable.random_masked(6, 7, Masking(5), sharpness=2.5)
    settings = {"max_new_tokens": 9, "end_tokens": (), "temperature": 0.6}
    plain = answer(model, [0, 1], f"threshold(0.8){rest}", **settings)
    leaping = answer(model, [0, 1], f"local-leap(0.8,0.8){rest}", **settings)
    assert [s.positions for s in plain.steps] == [s.positions for s in leaping.steps]
    assert plain.tokens == leaping.tokens and plain.counters.rounds < 9
    more = answer(model, [0, 1], f"local-leap(0.8,0.3){rest}", **settings)
    assert more.counters.rounds < plain.counters.rounds


@pytest.mark.parametrize("wrong", [{"near": 0.95}, {"near": -0.1}, {"radius": -1}, {"least": float("nan")}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        LocalLeap(**wrong)
    assert caught.value.hint
