"""Discrete Diffusion VLA's order: its schedule, and the second look at what was filled."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from diffuse.canvases import answer, by_confidence, chosen, filled_per_step
from stretto.diffuse.orders.easy_first import EasyFirst, remaining
from stretto.errors import InvalidRequest
from stretto.generation import Generation
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

CHUNK = [55, 54, 51, 48, 44, 39, 34, 28, 21, 14, 7, 0]  # 8 steps of 7 dimensions in 12 rounds
FLAT = MaskedTable(4, lambda position, seen: [0.0] * 4, Masking(3))


def masks_after(found: Generation, masks: int) -> list[int]:
    counts = [len(step.positions) - len(step.remasked) for step in found.steps]
    return [masks - sum(counts[: at + 1]) for at in range(len(counts))]


def test_the_cosine_of_an_action_chunk() -> None:
    assert [remaining(56, step, 12) for step in range(1, 13)] == CHUNK
    found = answer(FLAT, [0], "easy-first(most=0)", max_new_tokens=56, end_tokens=())
    assert masks_after(found, 56) == CHUNK


@pytest.mark.parametrize("masks", [1, 2, 7, 56, 300])
@pytest.mark.parametrize("steps", [1, 2, 12, 56, 400])
def test_each_step_fills_something_and_the_last_leaves_nothing(masks: int, steps: int) -> None:
    left = [masks, *(remaining(masks, step, steps) for step in range(1, steps + 1))]
    assert left[-1] == 0
    assert all(b < a or a == 0 for a, b in pairwise(left))


def test_as_many_steps_as_positions_is_one_at_a_time() -> None:
    found = answer(FLAT, [0], "easy-first(steps=20,most=0)", max_new_tokens=20, end_tokens=())
    assert filled_per_step(found) == [1] * 20


def test_the_schedule_holds_with_a_second_look() -> None:
    model = MaskedTable.random_masked(6, 2, Masking(5), sharpness=2.0)
    found = answer(model, [0], "easy-first(floor=0.9,most=6)", max_new_tokens=56, temperature=1.0, end_tokens=())
    assert masks_after(found, 56) == CHUNK
    assert sum(len(step.remasked) for step in found.steps) > 10
    assert all(len(step.remasked) <= 6 for step in found.steps) and not found.steps[-1].remasked


def corrupting(fixes: bool) -> MaskedTable:
    """Says 0 at position 3 with certainty until five positions are filled; then that 0 has .05, and 1 is right."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        filled = sum(seen[p] != 2 for p in range(1, 13) if p in seen and p != 3)
        if position == 3 and (fixes and filled >= 4):
            return [float(np.log(0.05)), float(np.log(0.95)), 0.0]
        return [6.0, 0.0, 0.0] if position == 3 else [0.0, 2.0 - 0.01 * position, 0.0]

    return MaskedTable(3, says, Masking(2))


def test_a_token_that_has_become_doubtful_is_opened_and_corrected() -> None:
    right = answer(corrupting(True), [0], "easy-first", max_new_tokens=12, end_tokens=())
    assert right.tokens[2] == 1 and [p for step in right.steps for p in step.remasked] == [3]
    assert right.steps[0].positions == [3]  # the surest at first
    assert answer(corrupting(True), [0], "easy-first(most=0)", max_new_tokens=12, end_tokens=()).tokens[2] == 0
    for one in ("floor=0", "drop=1"):  # either limit notices
        found = answer(corrupting(True), [0], f"easy-first({one})", max_new_tokens=12, end_tokens=())
        assert found.tokens[2] == 1
    neither = answer(corrupting(True), [0], "easy-first(floor=0,drop=1)", max_new_tokens=12, end_tokens=())
    assert neither.tokens[2] == 0
    calm = answer(corrupting(False), [0], "easy-first", max_new_tokens=12, end_tokens=())
    assert calm.tokens[2] == 0 and not any(step.remasked for step in calm.steps)


def test_noise_fades_until_the_last_step_has_none() -> None:
    confidences = by_confidence([0.5, 0.6, 0.9], 4)
    first = {next(iter(chosen(EasyFirst(3, chance=3.0), confidences, seed=seed).commit)) for seed in range(30)}
    assert first == {0, 1, 2}
    last = {tuple(chosen(EasyFirst(1, chance=3.0), confidences, seed=seed).commit) for seed in range(10)}
    assert last == {(2, 1, 0)}  # everything is filled, the surest first


def test_ranked_by_probability_or_margin() -> None:
    probabilities = [[0.5, 0.49, 0.01, 0.0], [0.45, 0.2, 0.2, 0.15], [0.3, 0.25, 0.25, 0.2]]
    first = {by: next(iter(chosen(EasyFirst(3, by), probabilities).commit)) for by in ("probability", "margin")}
    assert first == {"probability": 0, "margin": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: EasyFirst(-1),
        lambda: EasyFirst(by="entropy"),
        lambda: EasyFirst(chance=-1.0),
        lambda: EasyFirst(floor=1.5),
        lambda: EasyFirst(drop=-0.5),
        lambda: EasyFirst(most=-1),
    ],
)
def test_settings_out_of_range(wrong) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wrong()
    assert caught.value.hint
