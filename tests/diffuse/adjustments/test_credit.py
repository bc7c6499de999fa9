"""CreditDecoding: the credits by hand and against a slow table, and what they do to threshold decoding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, blank, by_confidence, predict
from stretto.diffuse.adjustments.credit import Credit
from stretto.diffuse.canvas import Span
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

WINDOW = Span(0, 3)


def boosts(rows: list[list[list[float]]], settings: Credit = Credit()) -> list[torch.Tensor]:
    """What is added to the logits [n, V] at each step."""
    canvas = blank(len(rows[0]), len(rows[0][0]))
    session = settings.open(canvas, None)
    added = []
    for step in rows:
        prediction = predict(canvas, step)
        added.append(session.adjust(canvas, prediction, WINDOW).logits - prediction.logits)
    return added


def test_credits_of_a_token_that_stays_the_likeliest() -> None:
    """Credits of .8326, 1.5366, 2.1322."""
    found = boosts([[by_confidence([p], 5)[0]] for p in (0.4, 0.5, 0.6)])
    assert [float(step[0, 0]) for step in found] == pytest.approx([0.424, 0.652, 0.799], abs=1e-3)
    assert all(float(step[0, 1:].abs().max()) == 0 for step in found)


def test_credits_are_bounded() -> None:
    found = boosts([[by_confidence([1 - 1e-12], 5)[0]]] * 60)
    assert float(found[-1][0, 0]) == pytest.approx(0.7 * math.log(6), abs=1e-4)


def test_two_tokens_that_take_turns_stay_within_a_step_of_fading() -> None:
    turns = [[row if step % 2 else row[::-1]] for step, row in enumerate([by_confidence([0.9], 2)[0]] * 30)]
    last = boosts(turns)[-1][0]
    earned = (last / 0.7).expm1()
    assert float(earned.min() / earned.max()) == pytest.approx(0.8, abs=1e-3)


def test_against_a_slow_table() -> None:
    chance = np.random.default_rng(5)
    settings = Credit(weight=0.5, power=0.3, fade=0.6)
    rows = [chance.dirichlet([0.5] * 4, 3).tolist() for _ in range(9)]
    credit: dict[tuple[int, int], float] = {}
    for step, added in zip(rows, boosts(rows, settings), strict=True):
        for pair in credit:
            credit[pair] *= 0.6
        for position, row in enumerate(step):
            best = int(np.argmax(row))
            credit[position, best] = credit.get((position, best), 0.0) + max(row) ** 0.3
        expected = torch.zeros(3, 4, dtype=torch.float64)
        for (position, token), value in credit.items():
            expected[position, token] = 0.5 * math.log(1 + value)
        torch.testing.assert_close(added, expected)


def test_what_is_not_computed_keeps_its_credit() -> None:
    canvas = blank(2, 5)
    session = Credit().open(canvas, None)
    prediction = predict(canvas, by_confidence([0.4, 0.4], 5))
    session.adjust(canvas, prediction, WINDOW)
    for _ in range(3):
        session.adjust(canvas, prediction.at(np.array([1])), WINDOW)
    added = session.adjust(canvas, prediction, WINDOW).logits - prediction.logits
    once, more = 0.4**0.2, [0.4**0.2 * sum(0.8**k for k in range(n)) for n in (2, 5)]
    assert once < more[0] and added[:, 0].tolist() == pytest.approx([0.7 * math.log1p(each) for each in more])


def test_a_new_block_begins_without_credit_and_a_fork_keeps_its_own() -> None:
    canvas = blank(1, 5)
    session = Credit().open(canvas, None)
    prediction = predict(canvas, by_confidence([0.4], 5))
    first = session.adjust(canvas, prediction, WINDOW).logits
    twin = session.fork()
    session.begin_window(canvas, WINDOW)
    torch.testing.assert_close(session.adjust(canvas, prediction, WINDOW).logits, first)
    assert float(twin.adjust(canvas, prediction, WINDOW).logits[0, 0]) > float(first[0, 0])


def slow(position: int, seen: dict[int, int]) -> list[float]:
    """Always the same token, with probability .8."""
    return np.log([0.8, 0.1, 0.1, 1e-12]).tolist()


def test_what_stays_the_same_is_sure_sooner() -> None:
    """1.956^.7 · 4 = 6.4 to 1, then 8.1, then 9.3: sure at the third step."""
    model, settings = MaskedTable(4, slow, Masking(3)), {"max_new_tokens": 8, "end_tokens": ()}
    plain = answer(model, [0], "threshold(0.9)", **settings)
    credited = answer(model, [0], "threshold(0.9)+credit", **settings)
    assert plain.tokens == credited.tokens
    assert plain.counters.rounds == 8 and [len(s.positions) for s in credited.steps] == [1, 1, 6]
    blocks = answer(model, [0], "threshold(0.9)+blocks(4)+credit", **settings)
    assert [len(s.positions) for s in blocks.steps] == [1, 1, 2, 1, 1, 2]


def test_both_probabilities_of_a_token_are_reported() -> None:
    """The model's own, and that of the raised logits that it was chosen from."""
    model = MaskedTable(4, slow, Masking(3))
    found = answer(model, [0], "threshold(0.9)+credit", max_new_tokens=8, end_tokens=(), log_probabilities=1)
    assert all(sure == pytest.approx(0.8, abs=1e-6) for step in found.steps for sure in step.confidence)
    assert {round(math.exp(each.raw), 6) for each in found.log_probabilities} == {0.8}
    steered = sorted(math.exp(each.steered) for each in found.log_probabilities)
    odds = 4 * (1 + 0.8**0.2) ** 0.7
    assert steered[0] == pytest.approx(odds / (1 + odds)) and steered[-1] > 0.9


MODEL = MaskedTable.random_masked(6, 3, Masking(5), sharpness=1.5)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("text", ["threshold(0.6)", "ranked+blocks(3)+dual-cache", "coherent+blocks(4)"])
def test_without_weight_nothing_changes_and_with_it_something_does(text: str, temperature: float) -> None:
    settings = {"max_new_tokens": 8, "end_tokens": (), "temperature": temperature}
    plain = answer(MODEL, [0, 1], text, **settings)
    same = answer(MODEL, [0, 1], f"{text}+credit(0)", **settings)
    assert plain.tokens == same.tokens
    assert [s.positions for s in plain.steps] == [s.positions for s in same.steps]
    assert [s.confidence for s in plain.steps] == [s.confidence for s in same.steps]
    other = answer(MODEL, [0, 1], f"{text}+credit(50)", **settings)
    assert (other.tokens, [s.positions for s in other.steps]) != (plain.tokens, [s.positions for s in plain.steps])


@pytest.mark.parametrize("wrong", [{"weight": -1}, {"power": -1}, {"fade": 1.0}, {"weight": math.inf}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Credit(**wrong)
    assert caught.value.hint
