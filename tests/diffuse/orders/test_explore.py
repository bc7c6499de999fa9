"""Explore, then exploit: what one uncertain position a round is worth, and what ends of the text forbid."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffuse.canvases import GREEDY, answer, blank, by_confidence, chosen, engine, filled_per_step, predict
from models.masked_checkpoints import save
from stretto import method
from stretto.diagnose.bits import bits_of
from stretto.diffuse.canvas import Delta, Span
from stretto.diffuse.constraints.grammar import Grammar
from stretto.diffuse.orders.explore import Explore
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.load import load
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
    """A choice on a canvas of these confidences; token 1 ends the text, and is predicted at `ending`."""
    canvas = blank(len(sure), 2, ends=frozenset([1]))
    for at, token in (written or {}).items():
        canvas.ids[at], canvas.filled[at] = token, 0
    rows = [row[::-1] if at in ending else row for at, row in enumerate(by_confidence(sure))]
    canvas.front = front
    ordering = settings.open(canvas, None)
    return ordering.choose(
        canvas, predict(canvas, [rows[at] for at in np.flatnonzero(canvas.open)]), Span(0, len(sure))
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


# -- several tokens for the explored position -----------------------------------------------------------


def predicted(model: MaskedTable, canvas: list[int]) -> dict[int, torch.Tensor]:
    """What the model says of each open position, the mask itself ruled out."""
    seen = dict(enumerate(canvas))
    mask = model.masking.mask
    rows = {at: torch.tensor(model.says(at, seen), dtype=torch.float64) for at, token in seen.items() if token == mask}
    return {at: row.index_fill(0, torch.tensor([mask]), -torch.inf).softmax(0) for at, row in rows.items()}


def slowly(
    model: MaskedTable, prompt: list[int], length: int, least: float, branches: int, size: int
) -> tuple[list[int], int, int]:
    """Explore, then exploit, as the catalogue of methods says it, with a window of two blocks: answer, rounds, rows."""
    canvas, rounds, rows = [*prompt, *[model.masking.mask] * length], 1, 1
    said = predicted(model, canvas)
    while True:
        start = len(prompt) + (min(said) - len(prompt)) // size * size
        window = {at: row for at, row in said.items() if at < start + 2 * size}
        sure = {at: int(row.argmax()) for at, row in window.items() if row.max() >= least}
        doubt = {at: float(row.xlogy(row).sum()) for at, row in window.items() if at < start + size and at not in sure}
        tried: list[tuple[int, int]] = []
        if doubt:
            explored = min(doubt, key=lambda at: doubt[at])  # minus the entropy
            best = window[explored].topk(branches)
            tried = [(explored, int(token)) for token, p in zip(best.indices, best.values, strict=True) if p > 0]
            sure[explored] = tried[0][1]
        for at, token in sure.items():
            canvas[at] = token
        if model.masking.mask not in canvas:
            return canvas[len(prompt) :], rounds, rows
        several = [[*canvas[:place], token, *canvas[place + 1 :]] for place, token in tried] or [canvas]
        views = [predicted(model, each) for each in several]
        worth = []
        for view in views:
            first = len(prompt) + (min(view) - len(prompt)) // size * size
            worth.append(sum(float(row.max()) >= least for at, row in view.items() if at < first + 2 * size))
        kept = worth.index(max(worth))
        canvas, said = several[kept], views[kept]
        rounds, rows = rounds + 1, rows + len(several)


@pytest.mark.parametrize("branches", [1, 2, 4])
def test_branches_are_as_written_down_in_the_catalogue(branches: int) -> None:
    for seed in range(12):
        model = MaskedTable.random_masked(6, seed, Masking(5), sharpness=2.5)
        found = answer(
            model, [0, 3], f"explore(0.6,branches={branches})+look-ahead(3)", max_new_tokens=11, end_tokens=()
        )
        expected = slowly(model, [0, 3], 11, 0.6, branches, 3)
        assert (found.tokens, found.counters.rounds, found.counters.row_forwards) == expected
        assert not found.counters.drafted


def key_and_lock() -> MaskedTable:
    """Position 1 is 0 rather than 1; but only once it is 1, everything else is sure."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        if position == 1:
            return [math.log(0.4), math.log(0.35), math.log(0.25), 0.0]
        return [4.0 if seen[1] == 1 else 0.5, 0.0, 0.0, 0.0]

    return MaskedTable(4, says, Masking(3))


def test_the_token_that_makes_most_positions_sure_is_kept() -> None:
    settings = {"max_new_tokens": 6, "end_tokens": (), "log_probabilities": 1}
    one, two = (answer(key_and_lock(), [2], f"explore(0.9,branches={n})", **settings) for n in (1, 2))
    assert one.tokens == [0] * 6 and one.counters.rounds == one.counters.row_forwards == 6
    assert two.tokens == [1, 0, 0, 0, 0, 0] and (two.counters.rounds, two.counters.row_forwards) == (2, 3)
    assert [step.committed for step in two.steps] == [[1], [0] * 5]  # the trace says what was kept, and how sure it was
    assert two.steps[0].confidence == [pytest.approx(0.35)]
    assert (two.log_probabilities[0].token, math.exp(two.log_probabilities[0].raw)) == (1, pytest.approx(0.35))
    assert answer(key_and_lock(), [2], "explore(0.9,branches=2)", banned_tokens=[1], **settings).tokens == [0] * 6
    ending = {**settings, "end_tokens": [1]}
    assert answer(key_and_lock(), [2], "explore(0.9,branches=2)", **ending).tokens == [0] * 6  # ends are not explored


def test_of_equally_good_tokens_the_one_that_was_drawn_is_kept() -> None:
    """So a perfect model is still sampled: each of the bits' values comes about as often."""
    model = copied_bits(1, 4)
    settings = {"max_new_tokens": 4, "end_tokens": (), "temperature": 1.0, "samples": 60, "seed": 2}
    found = answer(model, [[0]], "explore(0.9,branches=2)", **settings)
    ones = sum(each.tokens == [1] * 4 for each in found)
    assert sum(each.tokens == [0] * 4 for each in found) == 60 - ones and 18 <= ones <= 42


def test_what_may_still_become_another_token_is_not_handed_out() -> None:
    pieces = engine(key_and_lock()).stream([2], "explore(0.9,branches=2)", max_new_tokens=6, end_tokens=())
    assert [piece.tokens for piece in pieces if piece.tokens] == [[1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("cached", ["dual-cache(every=1)", "elastic(1.1)", "branch-cache(updates=99)"])
def test_each_branch_has_keys_and_values_of_its_own(tmp_path: Path, cached: str) -> None:
    """Where a cache is none by its settings, branches see what they see without it; guidance has its own canvases."""
    network = load(save("llada", tmp_path)).model
    settings = {"max_new_tokens": 10, "end_tokens": (), "temperature": 0.7}
    text = "explore(0.3,branches=3)+look-ahead(4)+cfg(0.5)"
    plain, kept = (answer(network, [[5, 7, 9], [4]], each, **settings) for each in (text, f"{text}+{cached}"))
    for one, other in zip(plain, kept, strict=True):
        assert one.tokens == other.tokens
        assert [step.confidence for step in one.steps] == [step.confidence for step in other.steps]
        assert one.counters.row_forwards == other.counters.row_forwards > 2 * one.counters.rounds


def test_branches_serve_alone() -> None:
    for text in ("explore(branches=2)+freedave(4)", "explore(branches=2)+ssd(4)"):
        with pytest.raises(Unsupported, match="several tokens") as caught:
            answer(key_and_lock(), [2], text, max_new_tokens=4)
        assert caught.value.hint
    with pytest.raises(Unsupported, match="several tokens"):
        chosen_parts = replace(method.parse("explore(branches=2)"), constraint=object.__new__(Grammar))
        chosen_parts.check(key_and_lock(), GREEDY, 1)
    assert answer(key_and_lock(), [2], "explore+freedave(4)", max_new_tokens=4, end_tokens=()).tokens


@pytest.mark.parametrize(
    "wrong",
    [{"least": -1}, {"positions": -1}, {"by": "raw"}, {"branches": 0}, {"branches": 2, "positions": 2}],
)
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Explore(**wrong)  # type: ignore[arg-type]
    assert caught.value.hint
