"""R²-dLLM's rules one by one, and in their order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, blank, chosen, predict
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.orders.contract import OrderState
from stretto.diffuse.orders.redundancy import Redundancy
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

OFF = 2.0
V = 8
CLUSTER = Redundancy(0.9, 0.8, OFF, OFF)
ECHO = Redundancy(0.9, OFF, 0.8, OFF)
STEADY = Redundancy(0.9, OFF, OFF, 0.8)


def rows(*pairs: tuple[int, float]) -> list[list[float]]:
    """Distributions by their likeliest token and its probability."""
    return [[c if token == best else (1 - c) / (V - 1) for token in range(V)] for best, c in pairs]


def step(ordering: OrderState, canvas: Canvas, *pairs: tuple[int, float]) -> set[int]:
    return set(ordering.choose(canvas, predict(canvas, rows(*pairs)), Span(0, len(canvas))).commit)


def opened(order: Redundancy, size: int, filled: dict[int, int] | None = None) -> tuple[OrderState, Canvas]:
    canvas = blank(size, V - 1)
    canvas.change(Delta(filled or {}))
    ordering = order.open(canvas, None)
    ordering.begin_window(canvas, Span(0, size))
    return ordering, canvas


# -- clusters ---------------------------------------------------------------------------------------------


def test_three_neighbours_are_sure_together() -> None:
    """.807 on average, though none reaches .9."""
    assert set(chosen(CLUSTER, rows((0, 0.85), (1, 0.78), (2, 0.79))).commit) == {0, 1, 2}
    assert set(chosen(CLUSTER, rows((0, 0.82), (1, 0.78), (2, 0.79))).commit) == {0}


def test_only_masks_count_towards_the_mean() -> None:
    ordering, canvas = opened(CLUSTER, 3, {1: 4})
    assert step(ordering, canvas, (0, 0.81), (2, 0.8)) == {0, 2}
    ordering, canvas = opened(CLUSTER, 3, {1: 4})
    assert step(ordering, canvas, (0, 0.81), (2, 0.78)) == {0}
    ordering, canvas = opened(CLUSTER, 3, {0: 4, 1: 4})
    assert step(ordering, canvas, (0, 0.85)) == {2}  # the surest; two filled make no cluster
    ordering, canvas = opened(CLUSTER, 4, {0: 4, 1: 4})
    assert step(ordering, canvas, (0, 0.81), (2, 0.8)) == {2, 3}


def test_what_the_threshold_fills_counts_as_filled() -> None:
    """.95 would lift the mean of all three; the two others by themselves are below."""
    assert set(chosen(CLUSTER, rows((0, 0.95), (1, 0.78), (2, 0.78))).commit) == {0}
    assert set(chosen(CLUSTER, rows((0, 0.95), (1, 0.81), (2, 0.81))).commit) == {0, 1, 2}


@pytest.mark.parametrize("seed", range(8))
def test_clusters_by_their_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    filled = {int(at): 4 for at in np.flatnonzero(generator.random(12) < 0.3)}
    confidence = {at: float(generator.uniform(0.6, 0.99)) for at in range(12) if at not in filled}
    ordering, canvas = opened(CLUSTER, 12, filled)
    masks = {at for at, c in confidence.items() if c < 0.9}
    expected = set(confidence) - masks
    for start in range(10):
        members = [at for at in range(start, start + 3) if at in masks]
        if len(members) >= 2 and np.mean([confidence[at] for at in members]) >= 0.8:
            expected |= set(members)
    expected = expected or {max(confidence, key=lambda at: confidence[at])}
    assert step(ordering, canvas, *((at % 5, c) for at, c in confidence.items())) == expected


# -- equal neighbours ---------------------------------------------------------------------------------------


def test_one_of_equal_neighbours() -> None:
    two_and_one = rows((0, 0.85), (0, 0.6), (1, 0.5))
    assert chosen(ECHO, two_and_one).commit == {0: 0}
    pairs = rows((0, 0.6), (0, 0.85), (0, 0.7), (1, 0.85), (2, 0.81), (2, 0.82))
    assert chosen(ECHO, pairs).commit == {1: 0, 5: 2}
    assert chosen(Redundancy(0.9, OFF, 0.8, OFF, pick="middle"), rows((0, 0.85), (0, 0.6), (0, 0.5))).commit == {1: 0}
    picks = {
        next(iter(chosen(Redundancy(0.9, OFF, 0.8, OFF, pick="random"), rows(*[(0, 0.85)] * 3), seed=seed).commit))
        for seed in range(20)
    }
    assert picks == {0, 1, 2}


def test_equal_tokens_on_both_sides_of_a_filled_one_are_no_neighbours() -> None:
    ordering, canvas = opened(ECHO, 5, {1: 4})
    assert step(ordering, canvas, (0, 0.85), (0, 0.84), (3, 0.86), (2, 0.1)) == {3}  # the surest: no rule fires


def test_clusters_go_before_equals() -> None:
    """All three are a cluster; equals first would fill one of them and leave too few."""
    both = Redundancy(0.9, 0.8, 0.8, OFF)
    three = rows((0, 0.85), (0, 0.79), (0, 0.79))
    assert set(chosen(both, three).commit) == {0, 1, 2}
    assert set(chosen(ECHO, three).commit) == {0}


# -- what stays the same ------------------------------------------------------------------------------------


def test_the_third_time_it_is_filled_and_not_the_second() -> None:
    ordering, canvas = opened(STEADY, 2)
    said = (0, 0.82), (1, 0.85)
    assert [step(ordering, canvas, *said) for _ in range(3)] == [{1}, {1}, {0, 1}]


def test_another_token_begins_anew() -> None:
    ordering, canvas = opened(STEADY, 2)
    for token in (0, 0, 2, 2):
        assert step(ordering, canvas, (token, 0.82), (1, 0.5)) == {0}  # the surest, by no rule
    assert step(ordering, canvas, (1, 0.5), (1, 0.82)) == {1}
    ordering.begin_window(canvas, Span(0, 2))
    assert step(ordering, canvas, (1, 0.5), (1, 0.82)) == {1}


@pytest.mark.parametrize(
    ("statistic", "confidences", "fills"),
    [
        ("last", (0.5, 0.5, 0.82), True),
        ("last", (0.85, 0.85, 0.7), False),
        ("mean", (0.85, 0.85, 0.71), True),
        ("mean", (0.5, 0.5, 0.89), False),
        ("max", (0.5, 0.81, 0.5), True),
        ("max", (0.5, 0.79, 0.5), False),
    ],
)
def test_which_confidence_counts(statistic: str, confidences: tuple[float, ...], fills: bool) -> None:
    ordering, canvas = opened(Redundancy(0.95, OFF, OFF, 0.8, statistic=statistic), 2)
    found = [step(ordering, canvas, (0, confidence), (at, 0.94)) for at, confidence in enumerate(confidences, 1)]
    assert found == [{1}, {1}, {0} if fills else {1}]


# -- together -----------------------------------------------------------------------------------------------


def test_rules_off_is_the_threshold_and_rules_save_steps() -> None:
    settings = {"max_new_tokens": 24, "end_tokens": ()}
    texts = ("low-confidence", "threshold(0.9)", "redundancy(0.9,2,2,2)", "redundancy")
    rounds = dict.fromkeys(texts, 0)
    for seed in range(4):
        model = MaskedTable.random_masked(6, seed, Masking(5), sharpness=2.5)
        found = {text: answer(model, [0, 1], f"{text}+blocks(8)", **settings) for text in texts}
        for text, each in found.items():
            rounds[text] += each.counters.rounds
        threshold, off = (found[text] for text in texts[1:3])
        assert [step.positions for step in off.steps] == [step.positions for step in threshold.steps]
    assert rounds["redundancy"] < rounds["threshold(0.9)"] < rounds["low-confidence"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Redundancy(-0.1),
        lambda: Redundancy(steady=float("nan")),
        lambda: Redundancy(steps=0),
        lambda: Redundancy(pick="lef"),
        lambda: Redundancy(statistic="median"),
    ],
)
def test_settings_out_of_range(wrong) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wrong()
    assert caught.value.hint


def test_distributions_of_the_tests_are_what_they_say() -> None:
    assert torch.tensor(rows((2, 0.85))).argmax() == 2 and sum(rows((2, 0.85))[0]) == pytest.approx(1.0)
