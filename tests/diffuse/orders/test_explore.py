"""Explore, then exploit: what one uncertain position a round is worth, and what ends of the text forbid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, blank, by_confidence, chosen, filled_per_step, propose
from stretto import method
from stretto.diagnose.bits import bits_of
from stretto.diffuse.contract import Delta, Span
from stretto.diffuse.orders.explore import Explore
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import ExactJoint, MaskedTable

BIT = math.log(2)


def copied_bits(bits: int, copies: int) -> ExactJoint:
    """Fair bits side by side, each written several times."""
    joint = torch.zeros((2,) * (bits * copies), dtype=torch.float64)
    for drawn in np.ndindex(*(2,) * bits):
        joint[tuple(np.repeat(drawn, copies))] = 0.5**bits
    return ExactJoint(joint)


def test_exploring_beside_what_is_sure_saves_rounds_and_settles_as_much() -> None:
    """Three bits, four times each: waiting for certainties takes 6 rounds, exploring beside them 4."""
    settings = {"max_new_tokens": 12, "end_tokens": ()}
    waiting = answer(copied_bits(3, 4), [0], "threshold(0.9)", **settings)
    exploring = answer(copied_bits(3, 4), [0], "explore(0.9)", **settings)
    assert bits_of(waiting.steps).rounds == pytest.approx([BIT, 0, BIT, 0, BIT, 0], abs=1e-9)
    assert bits_of(exploring.steps).rounds == pytest.approx([BIT, BIT, BIT, 0], abs=1e-9)
    assert bits_of(waiting.steps).total == pytest.approx(2.0794, abs=1e-4)
    assert bits_of(exploring.steps).total == pytest.approx(3 * BIT)
    for found in (waiting, exploring):
        assert found.counters.rounds >= bits_of(found.steps).least_rounds


def test_a_window_that_reaches_ahead_finds_more_that_is_sure() -> None:
    """Blocks of two: the copies of a bit stand in the next block."""
    settings = {"max_new_tokens": 8, "end_tokens": ()}
    rounds = [
        answer(copied_bits(2, 4), [0], f"explore+{blocks}", **settings).counters.rounds
        for blocks in ("blocks(2)", "look-ahead(2,more=0)", "look-ahead(2,more=1)")
    ]
    assert rounds[0] == rounds[1] > rounds[2]


def test_beside_what_is_sure_the_least_sure_is_filled() -> None:
    probabilities = [[0.95, 0.05, 0, 0], [0.5, 0.5, 0, 0], [0.4, 0.3, 0.3, 0], [0.7, 0.2, 0.1, 0]]
    assert set(chosen(Explore(), probabilities).commit) == {0, 2}  # entropies .69, 1.09, .80
    assert set(chosen(Explore(by="margin"), probabilities).commit) == {0, 1}
    assert set(chosen(Explore(positions=2), probabilities).commit) == {0, 2, 3}
    assert set(chosen(Explore(positions=0), probabilities).commit) == {0}
    assert set(chosen(Explore(positions=9), probabilities).commit) == {0, 1, 2, 3}
    assert set(chosen(Explore(positions=0), probabilities[1:]).commit) == {2}  # then the surest, as the threshold


def ahead(
    sure: list[float], ending: set[int], front: Span | None, settings: Explore, written: dict[int, int] | None = None
) -> Delta:
    """A choice on a canvas of these confidences; token 1 ends the text, and is proposed at `ending`."""
    canvas = blank(len(sure), 2, ends=frozenset([1]))
    for at, token in (written or {}).items():
        canvas.ids[at], canvas.filled[at] = token, 0
    rows = [row[::-1] if at in ending else row for at, row in enumerate(by_confidence(sure))]
    canvas.front = front
    ordering = settings.open(canvas, None)
    return ordering.choose(
        canvas, propose(canvas, [rows[at] for at in np.flatnonzero(canvas.open)]), Span(0, len(sure))
    )


def test_ahead_of_the_block_nothing_is_filled_behind_a_possible_end() -> None:
    sure = [0.95, 0.8, 0.95, 0.95, 0.95, 0.95]
    front = Span(0, 3)
    assert set(ahead(sure, set(), front, Explore()).commit) == {0, 1, 2, 3, 4, 5}
    assert set(ahead(sure, {4}, front, Explore()).commit) == {0, 1, 2, 3, 4}
    assert set(ahead(sure, {1}, front, Explore(positions=0)).commit) == {0, 2}
    assert set(ahead(sure, set(), front, Explore(), {1: 1}).commit) == {0, 2}  # an end that is written already
    assert set(ahead(sure, {4}, None, Explore()).commit) == {0, 1, 2, 3, 4, 5}  # in one block all is filled


def test_no_end_token_is_explored() -> None:
    assert set(ahead([0.6, 0.7, 0.95], {0}, None, Explore()).commit) == {1, 2}
    assert set(ahead([0.6, 0.7], {0, 1}, None, Explore()).commit) == {1}  # nothing else is left: the surest


def test_exploring_stays_in_the_block_that_is_to_be_full_first() -> None:
    assert set(ahead([0.95, 0.8, 0.55, 0.6], set(), Span(0, 2), Explore()).commit) == {0, 1}
    assert set(ahead([0.3, 0.8, 0.55, 0.6], set(), Span(0, 2), Explore(positions=0)).commit) == {1}


@pytest.mark.parametrize("rest", ["", "+blocks(3)", "+blocks(2)+dual-cache"])
def test_without_exploring_it_is_the_threshold_order(rest: str) -> None:
    model = MaskedTable.random_masked(6, 7, Masking(5), sharpness=2.5)
    settings = {"max_new_tokens": 9, "end_tokens": [1], "temperature": 0.6}
    plain = answer(model, [0, 3], f"threshold(0.6){rest}", **settings)
    same = answer(model, [0, 3], f"explore(0.6,positions=0){rest}", **settings)
    assert [s.positions for s in plain.steps] == [s.positions for s in same.steps] and plain.tokens == same.tokens
    assert max(filled_per_step(answer(model, [0, 3], f"explore(0.6){rest}", **settings))) > 1


def test_the_entry_and_the_text_form() -> None:
    parsed = method.parse("ete")
    assert parsed.order == Explore() and method.parse(method.describe(parsed)) == parsed
    assert method.parse("explore(by=entropy)").order == Explore()  # a word, though a part has the same name


@pytest.mark.parametrize("wrong", [{"least": -1}, {"positions": -1}, {"by": "raw"}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Explore(**wrong)  # type: ignore[arg-type]
    assert caught.value.hint
