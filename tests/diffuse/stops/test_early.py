"""Stops that end early: Prophet, the cut behind an end token, and end tokens that are held back."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from diffuse.canvases import GREEDY, answer, blank, context, predict
from stretto.diffuse.canvas import Canvas, Span
from stretto.diffuse.prediction import Prediction, StepPredictions
from stretto.diffuse.stops.cut import Cut
from stretto.diffuse.stops.early_rejection import EarlyRejection
from stretto.diffuse.stops.prophet import Prophet
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.steer.choice import Rule
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.steer.top_k import TopK

END, MASK = 1, 4
TABLE = MaskedTable.random_masked(5, 2, Masking(MASK), sharpness=2.5)
SETTINGS = {"max_new_tokens": 10, "end_tokens": [END], "temperature": 0.8, "seed": 3}


def steps_of(found) -> list[list[int]]:
    return [step.positions for step in found.steps]


# -- Prophet ------------------------------------------------------------------------------------------


def gapped(gap: float) -> MaskedTable:
    """Two best logits that far apart everywhere, whatever else is added to all of them."""
    return MaskedTable(5, lambda position, seen: [9.0, 9.0 - gap, 1.0, 0.0, 0.0], Masking(MASK))


@pytest.mark.parametrize(("gap", "rounds"), [(7.4, 33), (5.1, 33), (4.9, 67), (2.4, 100), (7.6, 1)])
def test_the_threshold_falls_with_the_steps(gap: float, rounds: int) -> None:
    """Of 100 steps the first 33 ask for 7.5, those to the 67th for 5, the rest for 2.5: step 33 is the 34th forward."""
    found = answer(gapped(gap), [0], "low-confidence+prophet", max_new_tokens=100, end_tokens=())
    assert found.counters.rounds == rounds + (1 < rounds < 100)
    assert sum(map(len, steps_of(found))) == 100


def test_the_published_cases() -> None:
    session = Prophet().open(blank(100, 2), context(TABLE))
    window = Span(0, 100)
    for step, gap, stops in ((20, 7.4, False), (40, 5.1, True), (70, 2.4, False)):
        canvas = blank(100, 2)
        canvas.step = step
        session.looks(canvas, window)
        prediction = predict(canvas, [[1.0, math.exp(-gap), 0.0]] * 100)
        assert (session.ended(canvas, prediction) is not None) is stops


def test_the_gap_is_the_mean_of_the_region_on_logits() -> None:
    """8 and 0.4 are 4.2, where one position is filled already, and whatever is added to all logits of a row."""
    rows = torch.tensor([[8.0, 0.0, -9.0], [0.4, 0.0, -9.0]], dtype=torch.float64)
    pipelines = (GREEDY, Pipeline([Temperature(0.1), TopK(1)]))  # neither temperature nor truncation widens a gap
    for shift, pipeline in itertools.product((0.0, 30.0), pipelines):
        for step, stops in ((0, False), (50, False), (70, True)):
            canvas = blank(2, 2)
            canvas.ids[0], canvas.filled[0], canvas.step = 1, 0, step
            session = Prophet(steps=100).open(blank(2, 2), context(TABLE))
            assert session.looks(canvas, Span(0, 2)).tolist() == [0, 1]
            prediction = Prediction(StepPredictions(rows + shift, pipeline, None), np.arange(2), np.arange(2))
            ending = session.ended(canvas, prediction)
            assert (ending is not None) is stops and (ending is None or ending.commit == {1: 0})


def test_all_in_is_what_that_forward_proposed() -> None:
    """At step 40 of 100, in the 41st forward: before it the model is unsure, and says something else; also after it."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        open_ones = sum(token == MASK for token in seen.values())
        token, gap = (3, 5.1) if open_ones == 60 else (2, 1.0)
        return [gap * (each == token) for each in range(5)]

    model = MaskedTable(5, says, Masking(MASK))
    found = answer(model, [0], "low-confidence+prophet", max_new_tokens=100, end_tokens=())
    assert found.counters.rounds == 41
    assert (found.tokens.count(2), found.tokens.count(3)) == (40, 60)


def test_the_answer_region_is_behind_what_is_given() -> None:
    """Only the two positions behind the given token are sure; they are, from the first step on."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        return [9.0 * (position in (5, 6)), 0.0, 1.0, 0.5, 0.0]

    model = MaskedTable(5, says, Masking(MASK))
    prompt = [0, MASK, MASK, MASK, 3, MASK, MASK]
    for refresh in ("recompute", "dual-cache"):
        early = answer(model, prompt, f"low-confidence+blocks(3)+{refresh}+prophet(region=2)", end_tokens=())
        assert early.counters.rounds == 1 and early.tokens == [2, 2, 2, 3, 0, 0]
    other = answer(model, [0, 3, *[MASK] * 5], "low-confidence+blocks(3)+prophet(region=2)", end_tokens=())
    assert other.counters.rounds == 4  # nothing given inside: the window is judged, and the second one is sure


def test_infinite_thresholds_never_stop() -> None:
    plain = answer(TABLE, [0, 2], "low-confidence+blocks(4)+dual-cache", **SETTINGS)
    never = answer(TABLE, [0, 2], "low-confidence+blocks(4)+dual-cache+prophet(inf,inf,inf)", **SETTINGS)
    assert never.tokens == plain.tokens and steps_of(never) == steps_of(plain)
    always = answer(TABLE, [0, 2], "low-confidence+blocks(4)+prophet(0,0,0)", **SETTINGS)
    assert always.counters.rounds == 1
    rarely = answer(TABLE, [0, 2], "low-confidence+prophet(inf,0,0,every=4)", **SETTINGS | {"end_tokens": ()})
    assert rarely.counters.rounds == 5  # step 4 is the first of the second third that is tested


@pytest.mark.parametrize(
    "order", ["weld(1.1,below=1.0)+blocks(2)", "remask-loop(3,2,0.5)", "easy-first(most=2)", "revise"]
)
def test_all_in_waits_where_a_step_has_opened_what_the_model_did_not_speak_of(order: str) -> None:
    """Whenever the answer comes to stand fast, also as the order takes something back: no mask is left."""
    for fast in range(8):

        def says(position: int, seen: dict[int, int], fast: int = fast) -> list[float]:
            known = sum(token != MASK for token in seen.values())
            return [9.0 if known > fast else 0.3, 0.0, 0.1 * (position % 2), 0.0, 0.0]

        found = answer(MaskedTable(5, says, Masking(MASK)), [0], f"{order}+prophet", max_new_tokens=8, end_tokens=())
        assert len(found.tokens) == 8 and MASK not in found.tokens


def test_prophet_is_refused() -> None:
    with pytest.raises(Unsupported, match="block-causal"):
        answer(MaskedTable.random_masked(5, 2, Masking(MASK, block=4)), [0], "low-confidence+prophet", **SETTINGS)
    for wrong in ({"region": 0}, {"every": 0}, {"steps": -1}, {"first": math.nan}):
        with pytest.raises(InvalidRequest):
            Prophet(**wrong)


# -- the cut ------------------------------------------------------------------------------------------


def ending(where: dict[int, int]) -> MaskedTable:
    """Token 2 everywhere, and a sure end token at the position that goes with the first token; the later the surer."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        return [0.0, 9.0 if position == where[seen[0]] else -9.0, 1.0 + 0.1 * position, 0.0, 0.0]

    return MaskedTable(5, says, Masking(MASK))


def test_what_is_behind_the_end_token_is_dropped() -> None:
    """The end token comes first; then three positions are left of the twenty."""
    model = ending({0: 4, 3: 9})
    settings = {"max_new_tokens": 20, "end_tokens": [END]}
    found = answer(model, [[0], [3]], "low-confidence+cut-at-end", **settings)
    assert [row.tokens for row in found] == [[2, 2, 2, END], [2] * 8 + [END]]
    assert [row.counters.rounds for row in found] == [4, 9]
    assert [row.counters.token_forwards for row in found] == [21 + 3 * 5, 21 + 8 * 10]
    for row, prompt in zip(found, ([0], [3]), strict=True):
        alone = answer(model, prompt, "low-confidence+cut-at-end", **settings)
        assert alone.tokens == row.tokens and steps_of(alone) == steps_of(row)
    full = answer(model, [0], "low-confidence", **settings)
    assert full.tokens == found[0].tokens and full.counters.rounds == 20


@pytest.mark.parametrize("refresh", ["recompute", "dual-cache", "prefix-cache", "delayed-cache"])
def test_the_safe_cut_leaves_the_text_as_it_is(refresh: str) -> None:
    for seed in range(6):
        settings = SETTINGS | {"seed": seed}
        for order in ("low-confidence", "threshold(0.6)+blocks(4)"):
            plain = answer(TABLE, [0, 2], f"{order}+{refresh}", **settings)
            safe = answer(TABLE, [0, 2], f"{order}+{refresh}+cut-at-end(safe=true)", **settings)
            assert safe.tokens == plain.tokens
            seen: set[int] = set()
            for step in safe.steps:
                seen |= set(step.positions)
            assert seen >= set(range(2, 2 + len(safe.tokens)))


def test_a_row_is_not_cut_before_what_was_given() -> None:
    model = ending({0: 2})
    found = answer(model, [0, MASK, MASK, MASK, 3, MASK], "low-confidence+cut-at-end", end_tokens=[END])
    assert sorted(at for step in found.steps for at in step.positions) == [1, 2, 3, 5]


def test_an_end_token_that_is_only_foreseen() -> None:
    """Position 2 is surest, so without the end token being filled the canvas is cut behind it."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        return [0.0, 2.0 if position == 4 else -9.0, 5.0 if position != 4 else 0.0, 0.0, 0.0]

    model = MaskedTable(5, says, Masking(MASK))
    settings = {"max_new_tokens": 9, "end_tokens": [END]}
    waits = answer(model, [0], "low-confidence+cut-at-end", **settings)
    cuts = answer(model, [0], "low-confidence+cut-at-end(predicted=true)", **settings)
    assert waits.tokens == cuts.tokens == [2, 2, 2, END]
    assert (waits.counters.rounds, cuts.counters.rounds) == (9, 4)


def test_without_an_end_token_nothing_is_cut() -> None:
    plain = answer(TABLE, [0, 2], "low-confidence", **SETTINGS | {"end_tokens": ()})
    cut = answer(TABLE, [0, 2], "low-confidence+cut-at-end(predicted=true)", **SETTINGS | {"end_tokens": ()})
    assert cut.tokens == plain.tokens and len(cut.tokens) == 10
    assert Cut() != Cut(safe=True)


# -- end tokens that are held back ----------------------------------------------------------------------


def factors(settings: EarlyRejection, positions: int) -> list[float]:
    canvas = Canvas(np.full(positions, MASK), Masking(MASK), positions, Rule(GREEDY), frozenset([END]))
    session = settings.open(canvas, context(TABLE))
    return [session.factor(step) for step in range(session.steps)]


def test_the_published_factors() -> None:
    assert factors(EarlyRejection(steps=5), 99) == pytest.approx([0.4, 0.55, 0.7, 0.85, 1.0])
    doubling = [0.0177, 0.0332, 0.0641, 0.1260, 0.2498, 0.4973, 0.9923]
    assert factors(EarlyRejection(0.01, doubling=True), 128) == pytest.approx(doubling, abs=1e-4)
    assert factors(EarlyRejection(), 1) == [1.0]


def test_only_the_confidence_of_end_tokens_changes() -> None:
    canvas = Canvas(np.full(3, MASK), Masking(MASK), 3, Rule(GREEDY), frozenset([END]))
    session = EarlyRejection(steps=3).open(canvas, context(TABLE))
    prediction = predict(canvas, [[0.1, 0.8, 0.05, 0.05, 0], [0.6, 0.2, 0.1, 0.1, 0], [0.1, 0.7, 0.1, 0.1, 0]])
    weighed = session.adjust(canvas, prediction, Span(0, len(canvas)))
    assert weighed.confidence("raw") == pytest.approx([0.32, 0.6, 0.28])
    assert weighed.at(np.array([1, 2])).confidence("raw") == pytest.approx([0.6, 0.28])
    assert weighed.tokens.tolist() == prediction.tokens.tolist() == [1, 0, 1]
    before, after = prediction.confidence("entropy"), weighed.confidence("entropy")
    assert after[1] == before[1] and after[0] == pytest.approx(before[0] / 0.4) and after[0] < before[0] < 0


def test_the_factor_follows_the_steps_of_the_decode_and_not_of_the_block() -> None:
    """Five steps, two blocks: the second opens at the fourth step, where the factor is .85."""
    canvas = Canvas(np.full(4, MASK), Masking(MASK), 4, Rule(GREEDY), frozenset([END]))
    session = EarlyRejection(steps=5).open(canvas, context(TABLE))
    session.begin_window(canvas, Span(0, 2))
    prediction = predict(canvas, [[0.1, 0.8, 0.05, 0.05, 0]] * 4)
    assert session.adjust(canvas, prediction, Span(0, len(canvas))).confidence("raw") == pytest.approx([0.32] * 4)
    canvas.step, canvas.window_step = 3, 0
    session.begin_window(canvas, Span(2, 4))
    assert session.adjust(canvas, prediction, Span(0, len(canvas))).confidence("raw") == pytest.approx([0.68] * 4)


def test_end_tokens_come_late() -> None:
    """Every position would rather end, a little surer than the word that it becomes beside words."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        words = any(token == 2 for token in seen.values())
        return [0.0, -1.0, 3.0, 0.0, 0.0] if words else [0.0, 2.0, 1.9 + (position == 1) * 0.15, 0.0, 0.0]

    model = MaskedTable(5, says, Masking(MASK))
    settings = {"max_new_tokens": 8, "end_tokens": [END]}
    assert answer(model, [0], "low-confidence", **settings).tokens[-1] == END
    assert answer(model, [0], "low-confidence+early-rejection", **settings).tokens == [2] * 8
    found = answer(model, [0], "eoser", **settings)
    assert found.tokens == [2] * 8 and found.counters.rounds == 3


def test_nothing_held_back_is_the_baseline() -> None:
    for order in ("low-confidence", "ranked", "threshold(0.5)+blocks(3)"):
        plain = answer(TABLE, [0, 2], order, **SETTINGS)
        free = answer(TABLE, [0, 2], f"{order}+early-rejection(1)", **SETTINGS)
        assert free.tokens == plain.tokens and steps_of(free) == steps_of(plain)
    for wrong in ({"least": 0.0}, {"least": 0.6, "most": 0.5}, {"most": 1.1}, {"steps": -1}):
        with pytest.raises(InvalidRequest):
            EarlyRejection(**wrong)
