"""The rules that papers compare with: entropy bound, stretches, stability, remasking loop, wide in and narrow out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, blank, by_confidence, chosen, context, filled_per_step, predict
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.orders.contract import Order, OrderState
from stretto.diffuse.orders.entropy_bound import EntropyBound
from stretto.diffuse.orders.remask_loop import RemaskLoop
from stretto.diffuse.orders.runs import Runs
from stretto.diffuse.orders.stable import Stable
from stretto.diffuse.orders.wide_narrow import WideNarrow
from stretto.diffuse.prediction import Prediction, StepPredictions
from stretto.diffuse.stretches import stretches
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

MASK = 2


def filled_canvas(size: int, filled: dict[int, tuple[int, float]]) -> Canvas:
    """Position -> its token and how sure the model was of it."""
    canvas = blank(size, MASK)
    for position, (token, sure) in filled.items():
        canvas.ids[position], canvas.filled[position], canvas.sure[position] = token, 0, sure
    return canvas


def everywhere(canvas: Canvas, probabilities: list[list[float]]) -> Prediction:
    """What a model predicts at all positions of a canvas, filled ones as well."""
    logits = torch.tensor(probabilities, dtype=torch.float64).log()
    positions = np.arange(len(canvas))
    return Prediction(StepPredictions(logits, canvas.rule.pipeline, None), positions, positions)


def opened(order: Order, canvas: Canvas) -> OrderState:
    ordering = order.open(canvas, context(MaskedTable.random_masked(3, 0, Masking(MASK))))
    ordering.begin_window(canvas, Span(0, len(canvas)))
    return ordering


# -- EB ---------------------------------------------------------------------------------------------------


def of_entropy(entropy: float) -> list[float]:
    """Four tokens whose entropy this is, found by halving; the mask has no part in it."""
    low, high = 1 / 4, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        rest = (1 - middle) / 3
        found = -sum(p * np.log(p) for p in (middle, rest, rest, rest) if p)
        low, high = (low, middle) if found < entropy else (middle, high)
    return [low, *[(1 - low) / 3] * 3]


def test_entropies_of_the_catalogue() -> None:
    four = [*map(of_entropy, (1.2, 0.05, 0.01, 0.3))]
    assert set(chosen(EntropyBound(0.1), four).commit) == {1, 2, 3}  # .36 - .3 = .06
    assert set(chosen(EntropyBound(0.05), four).commit) == {1, 2}  # .06 - .05 = .01
    assert set(chosen(EntropyBound(0), four).commit) == {2}


def test_certain_positions_come_with_an_uncertain_one() -> None:
    probabilities = [[1.0, 0, 0, 0], of_entropy(0.5), [0, 1.0, 0, 0], of_entropy(0.6)]
    assert set(chosen(EntropyBound(0), probabilities).commit) == {0, 1, 2}


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_kept_by_its_definition(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = (3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)).softmax(-1)
    entropies = sorted(float(-(row * row.log()).sum()) for row in rows)
    most = max(k for k in range(1, 10) if k == 1 or sum(entropies[:k]) - max(entropies[:k]) <= 0.7)
    assert len(chosen(EntropyBound(0.7), rows.tolist()).commit) == most


# -- stretches --------------------------------------------------------------------------------------------


def test_stretches_end_at_gaps() -> None:
    assert [each.tolist() for each in stretches(np.array([3, 4, 5, 8, 10, 11]))] == [[0, 1, 2], [3], [4, 5]]
    assert stretches(np.array([], np.int64)) == []


def test_the_surest_of_each_stretch_where_sure_enough() -> None:
    canvas = filled_canvas(8, {2: (0, 0.9), 5: (1, 0.9)})  # stretches 0-1, 3-4, 6-7
    prediction = predict(canvas, by_confidence([0.5, 0.45, 0.3, 0.35, 0.93, 0.95], 4))
    assert set(opened(Runs(), canvas).choose(canvas, prediction, Span(0, 8)).commit) == {0, 6, 7}
    nothing = predict(canvas, by_confidence([0.3, 0.3, 0.3, 0.35, 0.3, 0.3], 4))
    assert set(opened(Runs(), canvas).choose(canvas, nothing, Span(0, 8)).commit) == {4}
    assert set(opened(Runs(0.4, 0.4), canvas).choose(canvas, prediction, Span(0, 8)).commit) == {0, 1, 6, 7}


# -- KLASS ------------------------------------------------------------------------------------------------


def said(ordering: OrderState, canvas: Canvas, *confidences: float) -> set[int]:
    return set(ordering.choose(canvas, predict(canvas, by_confidence(confidences, 3)), Span(0, len(canvas))).commit)


def test_a_position_must_be_sure_and_still() -> None:
    canvas = blank(3, MASK)
    ordering = opened(Stable(0.9, 0.01, 2), canvas)
    assert said(ordering, canvas, 0.95, 0.96, 0.5) == {1}  # nothing to compare with: the surest alone
    assert said(ordering, canvas, 0.95, 0.96, 0.5) == {1}  # one comparison
    assert said(ordering, canvas, 0.95, 0.96, 0.5) == {0, 1}  # two
    assert said(ordering, canvas, 0.999, 0.96, 0.5) == {1}  # position 0 has moved, though it is surer
    assert said(ordering, canvas, 0.999, 0.96, 0.5) == {1}  # and counts anew
    assert said(ordering, canvas, 0.999, 0.96, 0.5) == {0, 1}
    ordering.begin_window(canvas, Span(0, 3))
    assert said(ordering, canvas, 0.999, 0.96, 0.5) == {0}


def test_drift_is_the_divergence_from_before_to_now() -> None:
    before, now = np.array([0.9, 0.05, 0.05]), np.array([0.93, 0.035, 0.035])
    drift = float((now * np.log(now / before)).sum())
    assert abs(drift - float((before * np.log(before / now)).sum())) > 1e-4  # the other way round it is another
    for limit, still in ((drift * 1.001, {0, 1}), (drift * 0.999, {0})):
        canvas = blank(2, MASK)
        ordering = opened(Stable(0.9, limit, 1), canvas)
        said(ordering, canvas, 0.95, 0.9)
        assert said(ordering, canvas, 0.95, 0.93) == still


def test_positions_are_compared_with_themselves() -> None:
    """Position 0 is filled between two steps: what was second becomes first."""
    canvas = blank(3, MASK)
    ordering = opened(Stable(0.9, 0.01, 1), canvas)
    assert said(ordering, canvas, 0.99, 0.95, 0.92) == {0}
    canvas.change(Delta({0: 0}))
    assert said(ordering, canvas, 0.95, 0.92) == {1, 2}


def test_no_comparison_is_a_threshold() -> None:
    model = MaskedTable.random_masked(6, 3, Masking(5), sharpness=2.5)
    settings = {"max_new_tokens": 8, "end_tokens": ()}
    one, other = (answer(model, [0, 1], text, **settings) for text in ("stable(0.5,steps=0)", "threshold(0.5)"))
    assert [step.positions for step in one.steps] == [step.positions for step in other.steps]


# -- ReMDM ------------------------------------------------------------------------------------------------

TABLE = MaskedTable.random_masked(6, 11, Masking(5), sharpness=1.5)


def test_the_loop_leaves_as_many_masks_as_it_found() -> None:
    found = answer(TABLE, [0], "remask-loop(loops=5,count=2,begin=0.5)", max_new_tokens=8, end_tokens=())
    masks, seen = 8, []
    for step in found.steps:
        masks += len(step.remasked) - len(step.positions)
        seen.append(masks)
    # to half, where two are opened; five times two are filled, and but for the last time opened again; then the rest
    assert seen == [7, 6, 5, 6, 6, 6, 6, 6, 4, 3, 2, 1, 0]
    assert sum(len(step.remasked) > 0 for step in found.steps) <= 5


def test_what_was_least_sure_when_it_was_filled_is_opened() -> None:
    canvas = filled_canvas(4, {0: (0, 0.4), 1: (1, 0.3), 2: (0, 0.9)})
    ordering = opened(RemaskLoop(1, 1, 1.0), canvas)
    ordering.quota = [1]
    delta = ordering.choose(canvas, predict(canvas, by_confidence([0.8], 3)), Span(0, 4))
    assert delta.commit == {3: 0} and delta.remask == {1}
    ordering = opened(RemaskLoop(1, 2, 1.0), canvas)
    delta = ordering.choose(canvas, predict(canvas, by_confidence([0.35], 3)), Span(0, 4))
    assert delta.commit == {} and delta.remask == {1}  # it would be opened at once: it stays open


def test_it_never_goes_on_for_ever_where_windows_move() -> None:
    """Each position is opened so many times at most."""
    canvas = filled_canvas(4, {0: (0, 0.1), 1: (1, 0.3), 2: (0, 0.9)})
    ordering = opened(RemaskLoop(2, 1, 0.5), canvas)
    taken = []
    for _ in range(3):
        ordering.begin_window(canvas, Span(0, 4))
        taken.append(ordering.choose(canvas, predict(canvas, by_confidence([0.8], 3)), Span(0, 4)).remask)
    assert taken == [{0}, {0}, {1}]


# -- WINO -------------------------------------------------------------------------------------------------


def test_in_above_a_low_threshold_within_limits() -> None:
    assert set(chosen(WideNarrow(), by_confidence([0.7, 0.5, 0.61], 3)).commit) == {0, 2}
    assert set(chosen(WideNarrow(), by_confidence([0.4, 0.5, 0.3], 3)).commit) == {1}
    assert len(chosen(WideNarrow(), by_confidence([0.7] * 6, 3)).commit) == 5  # int(4.2) is raised to five
    assert len(chosen(WideNarrow(), by_confidence([0.7] * 10, 3)).commit) == 7
    assert len(chosen(WideNarrow(), by_confidence([0.7] * 40, 3)).commit) == 20


def test_out_where_the_model_would_not_say_it_again_but_fewer_than_come_in() -> None:
    canvas = filled_canvas(6, {0: (0, 0.9), 1: (1, 0.9), 2: (0, 0.9)})
    rows = [[0.5, 0.5, 0], [0.9, 0.1, 0], [0.95, 0.05, 0]]
    window = Span(0, 6)
    many = opened(WideNarrow(), canvas).choose(
        canvas, everywhere(canvas, [*rows, *by_confidence([0.7] * 3, 3)]), window
    )
    assert set(many.commit) == {3, 4, 5} and many.remask == {0, 1}
    two = opened(WideNarrow(), canvas).choose(
        canvas, everywhere(canvas, [*rows, *by_confidence([0.7, 0.7, 0.4], 3)]), window
    )
    assert set(two.commit) == {3, 4} and two.remask == {1}  # the more doubtful of the two
    one = opened(WideNarrow(), canvas).choose(canvas, everywhere(canvas, [*rows, *by_confidence([0.4] * 3, 3)]), window)
    assert len(one.commit) == 1 and not one.remask


def test_a_token_is_judged_by_a_row_that_does_not_see_it() -> None:
    """The model repeats whatever it sees; where it sees a mask it says 1. Only a row that is blind tells."""
    wrong = {1: 0, 2: 0, 3: 1}

    def says(position: int, seen: dict[int, int]) -> list[float]:
        if seen[position] != 4:
            return [9.0 if token == seen[position] else 0.0 for token in range(5)]
        if all(seen[p] == 4 for p in range(1, 9)):  # at first it says 0 at two positions
            return [3.0 if token == wrong.get(position, 1) and position in wrong else 0.0 for token in range(5)]
        return [0.0, 6.0, 0.0, 0.0, 0.0]

    found = answer(MaskedTable(5, says, Masking(4)), [0], "wide-narrow", max_new_tokens=8, end_tokens=())
    assert found.tokens == [1] * 8
    assert {p for step in found.steps for p in step.remasked} == {1, 2}
    assert answer(MaskedTable(5, says, Masking(4)), [0], "wide-narrow(narrow=0)", max_new_tokens=8).tokens[:2] == [0, 0]


@pytest.mark.parametrize("seed", range(6))
def test_each_step_gets_further_and_blind_rows_are_counted(seed: int) -> None:
    model = MaskedTable.random_masked(6, seed, Masking(5), sharpness=1.0)
    text = "wide-narrow(wide=0.1,narrow=0.99,fewest=3)"
    found = answer(model, [0], text, max_new_tokens=12, temperature=1.0, end_tokens=())
    filled, expected = 0, 0
    for step in found.steps:
        expected += 13 + filled
        assert len(step.positions) > len(step.remasked)
        filled += len(step.positions) - len(step.remasked)
    assert found.counters.token_forwards == expected
    assert len(filled_per_step(found)) <= 12 and any(step.remasked for step in found.steps)


# -- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: EntropyBound(-0.1),
        lambda: EntropyBound(by="entrop"),
        lambda: Runs(-1.0),
        lambda: Runs(low=float("nan")),
        lambda: Stable(drift=-1.0),
        lambda: Stable(steps=-1),
        lambda: RemaskLoop(-1),
        lambda: RemaskLoop(count=0),
        lambda: RemaskLoop(begin=1.5),
        lambda: RemaskLoop(steps=-1),
        lambda: WideNarrow(-0.1),
        lambda: WideNarrow(narrow=1.1),
        lambda: WideNarrow(share=2.0),
        lambda: WideNarrow(fewest=9, most=4),
    ],
)
def test_settings_out_of_range(wrong) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wrong()
    assert caught.value.hint
