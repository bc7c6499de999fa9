"""CCD: notes of the last steps, their mean, and what they agree on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, blank, by_confidence, filled_per_step, predict
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.orders.coherent import Coherent
from stretto.diffuse.prediction import Prediction
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

V = 4


def at(token: int, confidence: float) -> list[float]:
    """A distribution with its peak at a token."""
    row = by_confidence([confidence], V)[0]
    row[0], row[token] = row[token], row[0]
    return row


def begun(settings: Coherent, size: int) -> tuple[Any, Canvas]:
    canvas = blank(size, V)
    ordering = settings.open(canvas, None)
    ordering.begin_window(canvas, Span(0, size))
    return ordering, canvas


def step(ordering: Any, canvas: Canvas, rows: list[list[float]]) -> tuple[Prediction, Delta]:
    """A step on which nothing is filled."""
    window = Span(0, len(canvas))
    seen = ordering.adjust(canvas, predict(canvas, rows), window)
    delta = ordering.choose(canvas, seen, window)
    canvas.step += 1
    canvas.window_step += 1
    return seen, delta


def test_what_two_steps_agree_on_is_filled() -> None:
    """The surest are 5 and 7 at both steps, but 7 is another token."""
    ordering, canvas = begun(Coherent(history=2, most=2), 8)
    low = at(0, 0.3)
    first = [low] * 5 + [at(1, 0.8), low, at(2, 0.9)]
    second = [low] * 5 + [at(1, 0.8), low, at(3, 0.9)]
    assert step(ordering, canvas, first)[1].commit == {7: 2}  # nothing to compare with yet: the surest
    assert step(ordering, canvas, second)[1].commit == {5: 1}


def test_what_is_noted_is_predicted_by_the_mean_of_the_steps_that_noted_it() -> None:
    ordering, canvas = begun(Coherent(history=3, most=1), 3)
    steps = [
        [at(1, 0.9), at(2, 0.5), at(0, 0.4)],
        [at(1, 0.4), at(2, 0.8), at(0, 0.4)],
        [at(3, 0.5), at(2, 0.6), at(1, 0.7)],
        [at(3, 0.5), at(2, 0.6), at(1, 0.7)],
    ]
    noted: list[dict[int, torch.Tensor]] = []
    for rows in steps:
        seen, _ = step(ordering, canvas, rows)
        now = torch.tensor(rows, dtype=torch.float64)
        for line in range(3):
            earlier = [note[line] for note in noted[-2:] if line in note]
            mean = torch.stack([*earlier, now[line]]).mean(0)
            found = seen.logits[line].softmax(-1)
            torch.testing.assert_close(found, mean)
            assert float(found.sum()) == pytest.approx(1)
        noted.append({(best := int(now.amax(1).argmax())): now[best]})


def test_the_mean_repairs_a_prediction_that_slipped() -> None:
    """Surely token 1, then barely token 3: filled with 1, at once where the schedule asks."""
    ordering, canvas = begun(Coherent(history=2, most=2, adaptive=False), 2)
    step(ordering, canvas, [at(1, 0.9), at(0, 0.3)])
    seen, delta = step(ordering, canvas, [at(3, 0.5), at(0, 0.3)])
    assert delta.commit == {0: 1} and seen.confidence("raw")[0] == pytest.approx((0.9 + 0.5 / 3) / 2)


@pytest.mark.parametrize("most", [1, 3])
def test_without_history_all_that_is_noted_is_filled(most: int) -> None:
    model = MaskedTable.random_masked(6, 4, Masking(5), sharpness=2.0)
    found = answer(model, [0, 1], f"coherent(1,{most})", max_new_tokens=7, end_tokens=())
    assert filled_per_step(found) == ([1] * 7 if most == 1 else [3, 3, 1])


def flipping(position: int, seen: dict[int, int]) -> list[float]:
    """Three positions that stay what they are, and one that says something else at every step."""
    odd = sum(token == V for token in seen.values()) % 2
    says = {1: at(0, 0.7), 2: at(1, 0.6), 3: at(1 if odd else 2, 0.65), 4: at(2, 0.6)}
    return np.log([*says.get(position, at(0, 0.3)), 1e-12]).tolist()


def test_a_position_that_changes_its_mind_waits_for_the_fallback() -> None:
    found = answer(MaskedTable(V + 1, flipping, Masking(V)), [0], "coherent", max_new_tokens=4, end_tokens=())
    assert [step.positions for step in found.steps] == [[1], [2, 4], [3]]
    every = answer(MaskedTable(V + 1, flipping, Masking(V)), [0], "coherent(1)", max_new_tokens=4, end_tokens=())
    assert [step.positions for step in every.steps] == [[1, 2, 3, 4]]


def test_the_schedule_over_what_is_noted() -> None:
    """One of the noted positions of this step or the last is filled before any other, whatever its rank."""
    ordering, canvas = begun(Coherent(history=2, most=1, adaptive=False, steps=2), 4)
    step(ordering, canvas, [at(0, 0.9), at(0, 0.8), at(0, 0.7), at(0, 0.6)])
    _, delta = step(ordering, canvas, [at(1, 0.3), at(0, 0.8), at(0, 0.9), at(0, 0.6)])
    assert set(delta.commit) == {2, 0}


def test_entropy_as_the_measure() -> None:
    """The likelier token against the sharper distribution."""
    rows = [[0.5, 0.5, 1e-9, 1e-9], [0.55, 0.15, 0.15, 0.15]]
    for by, expected in (("probability", 1), ("entropy", 0)):
        ordering, canvas = begun(Coherent(1, 1, by=by), 2)
        assert set(step(ordering, canvas, rows)[1].commit) == {expected}


def test_the_staged_history() -> None:
    """An even model: two steps of warm-up, a history of one, then two; and of one again for the last tenth."""
    even = MaskedTable(4, lambda position, seen: [1.0, 0.0, 0.0, 0.0], Masking(3))
    staged = "coherent(staged=true,warmup=2)"
    found = answer(even, [0], staged, max_new_tokens=22, end_tokens=())
    assert filled_per_step(found) == [1, 1, 2, 1, 3, 1, 3, 1, 3, 1, 3, 2]
    assert filled_per_step(answer(even, [0], staged, max_new_tokens=21, end_tokens=()))[-2:] == [3, 1]


def test_a_new_block_begins_without_notes() -> None:
    ordering, canvas = begun(Coherent(history=2, most=2), 4)
    rows = [at(0, 0.9), at(0, 0.8), at(0, 0.3), at(0, 0.3)]
    step(ordering, canvas, rows)
    ordering.begin_window(canvas, Span(0, 4))
    canvas.window_step = 0
    assert set(step(ordering, canvas, rows)[1].commit) == {0}


def test_a_fork_remembers_and_goes_its_own_way() -> None:
    ordering, canvas = begun(Coherent(history=2, most=1), 2)
    step(ordering, canvas, [at(1, 0.9), at(0, 0.3)])
    twin = ordering.fork()
    step(twin, canvas, [at(0, 0.3), at(2, 0.9)])
    _, delta = step(ordering, canvas, [at(1, 0.8), at(0, 0.3)])
    assert delta.commit == {0: 1} and len(twin.notes) == 2


@pytest.mark.parametrize("wrong", [{"history": 0}, {"most": 0}, {"by": "margin"}, {"steps": -1}, {"warmup": -1}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Coherent(**wrong)
    assert caught.value.hint
