"""Dimple's confident decoding: the threshold, the grid where nothing passes it, and given tokens anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from diffuse.canvases import GREEDY, answer, blank, by_confidence, chosen, filled_per_step, predict
from stretto.diffuse.canvas import Span
from stretto.diffuse.orders.confident import Confident
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature

FLAT = MaskedTable(4, lambda position, seen: [0.0] * 4, Masking(3))
MODEL = MaskedTable.random_masked(6, 8, Masking(5), sharpness=2.0)
SETTINGS = {"max_new_tokens": 8, "end_tokens": ()}


def test_all_that_pass_and_no_more() -> None:
    assert set(chosen(Confident(), by_confidence([0.96, 0.97, 0.5])).commit) == {0, 1}
    assert set(chosen(Confident(0.5), by_confidence([0.5, 0.75])).commit) == {1}  # at the threshold is not above


def test_where_none_passes_the_grid_gives_the_first_number_that_is_not_zero() -> None:
    assert set(chosen(Confident(steps=8), by_confidence([0.6, 0.5, 0.4], 4)).commit) == {0}


@pytest.mark.parametrize(
    ("size", "steps", "trace"),
    [(8, 0, [1] * 6 + [2]), (8, 16, [1] * 8), (8, 4, [1, 2, 2, 3]), (8, 1, [8]), (8, 2, [3, 5])],
)
def test_the_grid_alone(size: int, steps: int, trace: list[int]) -> None:
    found = answer(FLAT, [0], f"confident(1.5,steps={steps})", max_new_tokens=size, end_tokens=())
    assert filled_per_step(found) == trace == walked(size, steps or size)


def walked(size: int, steps: int) -> list[int]:
    """How many are filled step by step, straight from the words."""
    grid = [1 + (0.001 - 1) * at / steps for at in range(steps + 1)]
    left, trace = size, []
    while left:
        now = left / size
        later = [time for time in grid if time < now]
        counts = [left if time == grid[-1] else int(left * (1 - time / now)) for time in later]
        trace.append(next((count for count in counts if count), left))
        left -= trace[-1]
    return trace


@pytest.mark.parametrize("steps", range(1, 14))
def test_the_grid_alone_at_every_number_of_steps(steps: int) -> None:
    found = answer(FLAT, [0], f"confident(1.5,steps={steps})", max_new_tokens=11, end_tokens=())
    assert filled_per_step(found) == walked(11, steps)


def test_at_threshold_zero_one_round() -> None:
    assert answer(MODEL, [0, 1], "confident(0)", **SETTINGS).counters.rounds == 1


def test_above_one_and_on_a_fine_grid_it_ranks_as_the_baseline_does() -> None:
    plain = answer(MODEL, [0, 1], "low-confidence", **SETTINGS)
    grid = answer(MODEL, [0, 1], "confident(1.5,steps=16)", **SETTINGS)
    assert grid.tokens == plain.tokens
    assert [s.positions for s in grid.steps] == [s.positions for s in plain.steps]


def test_the_bases_of_the_grid() -> None:
    probabilities = [[0.5, 0.49, 0.01, 1e-9], [0.45, 0.2, 0.2, 0.15], *by_confidence([0.3, 0.3], 4)]
    found = {
        by: next(iter(chosen(Confident(1.5, by), probabilities).commit))
        for by in ("probability", "margin", "entropy", "autoregressive")
    }
    assert found == {"probability": 0, "margin": 1, "entropy": 0, "autoregressive": 0}
    last = [*by_confidence([0.3, 0.3, 0.9], 4)]
    assert set(chosen(Confident(1.5, "autoregressive"), last).commit) == {0}


def test_positions_by_chance_have_no_favourite_and_coins_fall_one_by_one() -> None:
    random = [
        set(chosen(Confident(1.5, "origin-ratio", 2), by_confidence([0.9] * 4), seed=s).commit) for s in range(99)
    ]
    assert {len(each) for each in random} == {1} and {at for each in random for at in each} == {0, 1, 2, 3}
    coins = [len(chosen(Confident(1.5, "origin", 4), by_confidence([0.9] * 8), seed=s).commit) for s in range(400)]
    free = np.maximum(1, np.random.default_rng(0).binomial(8, 0.999 / 4, 4000))
    assert min(coins) == 1 and np.mean(coins) == pytest.approx(free.mean(), rel=0.08)
    assert np.var(coins) == pytest.approx(free.var(), rel=0.25)


def test_confidence_is_raw_unless_tempered() -> None:
    """0.8 of the model's own; at temperature 0.5 the same token has 0.94."""
    warm = Pipeline([Temperature(0.5)])
    for tempered, expected in ((False, {1}), (True, {0, 1})):
        canvas = blank(3, 2)
        ordering = Confident(0.9, tempered=tempered).open(canvas, None)
        ordering.begin_window(canvas, Span(0, 3))
        prediction = predict(canvas, by_confidence([0.8, 0.95, 0.6]), warm)
        assert set(ordering.choose(canvas, prediction, Span(0, 3)).commit) == expected
    assert GREEDY.greedy


def test_what_is_given_stands_where_it_was_given() -> None:
    """Whatever the seed, and whether the prompt is computed once or always."""
    prompt = [0, 1, 5, 5, 2, 5, 4, 3, 5, 5, 0]
    for text in ("dimple", "confident(0.5)", "confident(0.6,by=origin)+blocks(3)"):
        for seed in range(8):
            found = answer(MODEL, prompt, text, temperature=1.0, seed=seed, end_tokens=())
            whole = [*found.prompt_tokens, *found.tokens]
            assert len(whole) == len(prompt) and 5 not in whole
            assert all(token == given for given, token in zip(prompt, whole, strict=True) if given != 5)


def test_an_end_token_that_was_given_ends_nothing_before_the_text_reaches_it() -> None:
    prompt = [0, 5, 5, 5, 1, 5, 5]
    found = answer(MODEL, prompt, "confident(1.5)+prefill+end-of-text", end_tokens=[1])
    before = [step for step in found.steps if set(step.positions) & {1, 2, 3}]
    assert len(before) == 3 and len(found.tokens) <= 4
    assert found.tokens[-1] == 1


@pytest.mark.parametrize("wrong", [{"least": -0.1}, {"by": "margn"}, {"steps": -1}, {"least": float("nan")}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Confident(**wrong)  # type: ignore[arg-type]
    assert caught.value.hint
