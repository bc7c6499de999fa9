"""PC-Sampler: scores by hand, and frequencies of a corpus on disk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffuse.canvases import answer, blank, by_confidence, context, predict
from stretto.diffuse.background import frequencies, of_store
from stretto.diffuse.canvas import Span
from stretto.diffuse.orders.position_aware import PositionAware, PositionAwareState
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.speculate.datastore import Document, build

MODEL = MaskedTable.random_masked(6, 8, Masking(5), sharpness=1.5)
SETTINGS = {"max_new_tokens": 7, "end_tokens": (), "temperature": 0.7}


def store(path: Path, *texts: list[int]) -> str:
    build([Document(str(at), text) for at, text in enumerate(texts)], path, vocabulary=5)
    return str(path)


def scores(settings: PositionAware, sure: list[float], shares: list[float], start: int = 0) -> list[float]:
    """Scores where the predicted tokens, 0 everywhere, have these shares; one position after the other."""
    found = []
    for at, (confidence, share) in enumerate(zip(sure, shares, strict=True)):
        canvas = blank(len(sure), 4)
        ordering = PositionAwareState(settings, np.array([share, *[0.1] * 3]))
        prediction = predict(canvas, by_confidence([confidence] * len(sure), 4))
        found.append(math.exp(ordering.scores(prediction, Span(start, len(sure)))[at]))
    return found


def test_scores_by_hand() -> None:
    """A sure token that is common, and a less sure one that is rare: the second comes first."""
    assert scores(PositionAware(), [0.9, 0.6], [0.05, 1e-4]) == pytest.approx(
        [2.696, 5.526 * math.exp(-0.25)], abs=1e-3
    )
    assert scores(PositionAware(lean=0), [0.9, 0.6], [0.05, 1e-4]) == pytest.approx([2.696, 5.526], abs=1e-3)
    assert scores(PositionAware(), [1.0], [1e-6]) == pytest.approx([10.0])  # of 13.8
    assert scores(PositionAware(most=20.0), [1.0], [1e-6]) == pytest.approx([13.8], abs=0.02)


def test_offsets_count_from_the_window() -> None:
    whole = scores(PositionAware(lean=1.0), [0.5] * 3, [0.1] * 3)
    assert np.log(whole).tolist() == pytest.approx([math.log(whole[0]) - at for at in range(3)])
    assert scores(PositionAware(lean=1.0), [0.5] * 3, [0.1] * 3, start=1)[1] == pytest.approx(whole[0])


@pytest.mark.parametrize("rest", ["", "+blocks(3)", "+blocks(3)+dual-cache"])
def test_with_even_frequencies_and_no_lean_it_is_the_baseline(tmp_path: Path, rest: str) -> None:
    path = store(tmp_path / "even", [0, 1, 2, 3, 4], [4, 3, 2, 1, 0])
    plain = answer(MODEL, [0, 1], f"low-confidence(steps=4){rest}", **SETTINGS)
    same = answer(MODEL, [0, 1], f"position-aware({path},lean=0,steps=4){rest}", **SETTINGS)
    assert plain.tokens == same.tokens
    assert [s.positions for s in plain.steps] == [s.positions for s in same.steps]


def test_a_large_lean_goes_from_left_to_right(tmp_path: Path) -> None:
    path = store(tmp_path / "some", [0, 0, 1], [3])
    found = answer(MODEL, [0, 1], f"position-aware({path},lean=1000)", **SETTINGS)
    assert [s.positions for s in found.steps] == [[at] for at in range(2, 9)]


def test_common_tokens_come_late(tmp_path: Path) -> None:
    """Two positions as sure as each other: one says what every text says."""
    says = {1: [0.0, 2.0, 0.0, 0.0], 2: [2.0, 0.0, 0.0, 0.0]}
    model = MaskedTable(4, lambda position, seen: says.get(position, [0.0] * 4), Masking(3))
    for common, first in ((0, 1), (1, 2)):
        path = store(tmp_path / str(common), [common] * 30 + [0, 1, 2])
        found = answer(model, [0], f"position-aware({path},lean=0)", max_new_tokens=2, end_tokens=())
        assert found.steps[0].positions == [first]


def test_frequencies_are_shares_and_nothing_is_impossible() -> None:
    assert frequencies(np.array([6, 0, 4]), 3).tolist() == pytest.approx([0.6, 0.1, 0.4])


def test_frequencies_of_a_store(tmp_path: Path) -> None:
    texts = [[0, 0, 2], [2, 2, 2, 4], [0]]
    path = store(tmp_path / "store", *texts)
    place = context(MODEL)
    counts = np.bincount(np.concatenate(texts), minlength=6)
    assert counts.tolist() == [3, 0, 4, 0, 1, 0]
    assert of_store(path, place, frozenset(), 1.0).tolist() == pytest.approx(frequencies(counts, 6).tolist())
    counts[3] = 6
    assert of_store(path, place, frozenset([3]), 2.0).tolist() == pytest.approx(frequencies(counts, 6).tolist())
    assert of_store(path, place, frozenset([3]), 2.0) is of_store(path, place, frozenset([3]), 2.0)


def test_a_store_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no datastore") as caught:
        answer(MODEL, [0, 1], f"position-aware({tmp_path}/nil)", **SETTINGS)
    assert "store build" in caught.value.hint
    path = store(tmp_path / "large", [4, 4])
    with pytest.raises(Unsupported, match="holds token 4"):
        answer(MaskedTable.random_masked(4, 0, Masking(3)), [0], f"position-aware({path})", **SETTINGS)


@pytest.mark.parametrize(
    "wrong",
    [{"lean": -1}, {"lean": math.inf}, {"most": 0}, {"padding": -1}, {"padding": math.nan}, {"steps": -1}, {"path": 5}],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        PositionAware(**wrong)
    assert caught.value.hint
