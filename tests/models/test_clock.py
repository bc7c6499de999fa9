"""The clock: simulated costs are what they say; measured ones are monotone, complete and remembered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from stretto.models import clock
from stretto.models.cache import Cache
from stretto.models.clock import SIZES, MeasuredClock, SimulatedClock, describe, measure
from stretto.models.contract import Evaluation, Want
from stretto.models.table import TableModel
from stretto.models.window import Window


def flat(path: tuple[int, ...]) -> Sequence[float]:
    return [0.0, 0.0, 0.0]


class Counting(TableModel):
    """A table that counts its evaluations."""

    def __init__(self, max_positions: int = 4096) -> None:
        super().__init__(3, flat, max_positions)
        self.sizes: list[int] = []
        self.rows: list[int] = []

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        self.sizes.append(window.tokens.shape[1])
        self.rows.append(window.tokens.shape[0])
        assert int(window.positions.max()) < self.max_positions
        return super().evaluate(window, cache, Want(logits=False))


def test_simulated_costs() -> None:
    clock = SimulatedClock(start=2.0, per_token=0.5)
    assert (clock.cost(1), clock.cost(3), clock.cost(3, rows=2), clock.cost(2, 2, 2)) == (2.0, 3.0, 4.5, 4.5)


def test_measured_costs_never_fall() -> None:
    curve = measure(Counting())
    assert [tokens for tokens, _ in curve.points] == list(SIZES)
    seconds = [second for _, second in curve.points]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_costs_lie_on_straight_lines_between_the_points(tmp_path: Path) -> None:
    model = Counting()
    clock = MeasuredClock(model, tmp_path)
    clock.cost(1)
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps({"points": [[1, 1.0], [2, 1.5], [4, 1.7], [64, 7.7]], "padding": 0.0}))
    clock = MeasuredClock(model, tmp_path)
    costs = [clock.cost(tokens) for tokens in (1, 2, 3, 4, 34, 64, 74)]
    assert costs == pytest.approx([1.0, 1.5, 1.6, 1.7, 4.7, 7.7, 8.7])
    assert [(cost.tokens, cost.windows) for cost in clock.curve()] == [(1, 1.0), (2, 1.5), (4, 1.7), (64, 7.7)]


def test_batches_have_curves_of_their_own(tmp_path: Path) -> None:
    model = Counting()
    clock = MeasuredClock(model, tmp_path)
    clock.cost(1)
    assert len(list(tmp_path.iterdir())) == 1  # no batch was asked for
    clock.cost(1, rows=3)
    assert set(model.rows) == {1, 2, 4}
    for path in tmp_path.iterdir():
        rows = json.loads(path.read_text())["rows"]
        path.write_text(json.dumps({"points": [[1, 1.0 * rows], [2, 1.5 * rows]], "padding": 0.1 * rows}))
    clock = MeasuredClock(model, tmp_path)
    assert [clock.cost(2, rows) for rows in (1, 2, 3, 4)] == pytest.approx([1.5, 3.0, 4.5, 6.0])
    assert clock.cost(3, rows=4) == pytest.approx(8.0)
    assert [clock.cost(1.5, rows, 2) for rows in (1, 2, 3, 4)] == pytest.approx([1.45, 2.9, 4.35, 5.8])


def test_padding_is_measured_in_rows_of_unequal_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window costs 1 and 0.1 a real slot here, and 0.02 one that is padding."""
    lengths: list[list[int]] = []

    def timed(model: TableModel, window: Window, cache: Cache) -> float:
        model.evaluate(window, cache)
        lengths.append(window.lengths)
        return 1.0 + 0.1 * sum(window.lengths) + 0.02 * (window.tokens.numel() - sum(window.lengths))

    monkeypatch.setattr(clock, "_time", timed)
    found = measure(Counting(), rows=8)
    assert [16] + [1] * 7 in lengths
    assert found.padding == pytest.approx(0.02) and found.at(2.5, 4) == pytest.approx(1.0 + 0.1 * 20 + 0.02 * 4)
    assert measure(Counting(), rows=1).padding == 0.0


def test_windows_of_many_rows_stay_small_and_larger_batches_cost_in_proportion(tmp_path: Path) -> None:
    model = Counting()
    clock = MeasuredClock(model, tmp_path)
    clock.cost(1, rows=32)
    windows = [(size, rows) for size, rows in zip(model.sizes, model.rows, strict=True) if size <= max(SIZES)]
    assert max(size * rows for size, rows in windows) <= 128
    assert clock.cost(1, rows=96) == pytest.approx(3 * clock.cost(1, rows=32))


def test_it_measures_when_asked_and_once_per_model(tmp_path: Path) -> None:
    first, second, third = Counting(), Counting(), Counting()
    clock = MeasuredClock(first, tmp_path)
    assert not first.sizes and not list(tmp_path.iterdir())  # whoever never drafts pays nothing
    cost = clock.cost(8)
    assert first.sizes
    assert MeasuredClock(second, tmp_path).cost(8) == cost
    assert not second.sizes
    MeasuredClock(third, tmp_path, fresh=True).cost(8)
    assert third.sizes
    other = TableModel(5, lambda path: [0.0] * 5)
    assert describe(other) != describe(first)


def test_threads_make_other_costs() -> None:
    model, before = Counting(), torch.get_num_threads()
    described = describe(model)
    try:
        torch.set_num_threads(before + 1)
        assert describe(model) != described
    finally:
        torch.set_num_threads(before)


def test_a_short_model_is_measured_within_its_positions(tmp_path: Path) -> None:
    clock = MeasuredClock(Counting(max_positions=12), tmp_path)
    assert [cost.tokens for cost in clock.curve()] == [1, 2, 4]
    assert MeasuredClock(Counting(max_positions=1), tmp_path).cost(3) > 0


def test_a_broken_or_unwritable_memory_is_no_obstacle(tmp_path: Path) -> None:
    clock = MeasuredClock(Counting(), tmp_path)
    clock.cost(1)
    (path,) = tmp_path.iterdir()
    path.write_text("{}")
    assert MeasuredClock(Counting(), tmp_path).cost(1) > 0
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert MeasuredClock(Counting(), blocked).cost(1) > 0


@pytest.mark.parametrize(
    "text",
    [
        '{"points": [], "padding": 0.0}',
        '{"points": [[1, 0.0], [2, 0.0]], "padding": 0.0}',
        '{"points": [[1, 1e400]], "padding": 0.0}',
        '{"points": [[1, NaN]], "padding": 0.0}',
        '{"points": [[1, -1.0], [2, 1.0]], "padding": 0.0}',
        '{"points": [[1, 1.0], [2, 0.5]], "padding": 0.0}',
        '{"points": [[4, 1.0], [2, 1.5]], "padding": 0.0}',
        '{"points": [[1, 1.0], [1, 1.5]], "padding": 0.0}',
        '{"points": [[0, 1.0]], "padding": 0.0}',
        '{"points": [[1e400, 1.0]], "padding": 0.0}',
        '{"points": [[1, 1.0], [%s, 1.0]], "padding": 0.0}' % ("9" * 400),
        '{"points": [[1, 1.0]], "padding": -1.0}',
        '{"points": [[1, 1.0]], "padding": 1e999}',
        '{"points": [[1]], "padding": 0.0}',
        '{"points": 5, "padding": 0.0}',
        "[" * 100_000,
        "[]",
        "",
    ],
)
def test_a_file_that_makes_no_sense_is_measured_again(text: str, tmp_path: Path) -> None:
    MeasuredClock(Counting(), tmp_path).cost(1)
    (path,) = tmp_path.iterdir()
    path.write_text(text, encoding="utf-8")
    model = Counting()
    clock = MeasuredClock(model, tmp_path)
    assert 0 < clock.cost(1) <= clock.cost(64) < 100 and model.sizes
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    again = Counting()
    assert MeasuredClock(again, tmp_path).cost(1) == clock.cost(1) and not again.sizes  # the file is mended
