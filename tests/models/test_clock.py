"""The clock: simulated costs are what they say; the learnt ones come from rounds that are made up, and not timed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from stretto.engine import Engine
from stretto.models import machine
from stretto.models.cache import Cache
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Evaluation, Want
from stretto.models.learnt import SLOTS, LearntClock, describe
from stretto.models.study import SIZES, study
from stretto.models.table import TableModel
from stretto.models.window import Window

STEPS = [1.0, 1.5, 1.8, 2.0, 2.2, 2.8, 2.9, 3.0, 4.2]  # a window of 1, 2 … 9 slots: a kernel that takes rows by fours
WIDE = 0.45  # and of each further one


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


def stepped(lengths: Sequence[int]) -> float:
    slots = sum(lengths)
    return STEPS[slots - 1] if slots <= len(STEPS) else STEPS[-1] + WIDE * (slots - len(STEPS))


def taught(clock: LearntClock, shapes: Sequence[Sequence[int]], cost: Callable[[Sequence[int]], float]) -> LearntClock:
    """Rounds of these shapes in turn, of which some have hiccups."""
    chance = random.Random(0)
    for lengths in shapes:
        hiccup = 5.0 if chance.random() < 0.04 else 1.0
        clock.learn(lengths, 0.02 * cost(lengths) * hiccup * math.exp(abs(chance.gauss(0.0, 0.04))))
    return clock


def ratios(clock: LearntClock, slots: Sequence[int]) -> list[float]:
    return [clock.cost(each) / clock.cost(1) for each in slots]


def test_simulated_costs() -> None:
    clock = SimulatedClock(start=2.0, per_token=0.5)
    assert (clock.cost(1), clock.cost(3), clock.cost(3, rows=2), clock.cost(2, 2, 2)) == (2.0, 3.0, 4.5, 4.5)
    clock.learn([1], 9.0)
    assert clock.cost(1) == 2.0


def test_nobody_measures_and_nothing_is_written_until_there_were_rounds(tmp_path: Path) -> None:
    model = Counting()
    clock = LearntClock(model, tmp_path)
    costs = [clock.cost(size) for size in range(1, 2000)]
    assert costs == sorted(costs) and costs[0] > 0
    assert not model.sizes and not list(tmp_path.iterdir()) and not clock.knows()


def test_a_prior_by_bytes_and_rows(tmp_path: Path) -> None:
    """A wide window costs most where weights take few bytes: reading them is what rows share."""
    wide = Counting()
    wide.layers, wide.channels = 30, 1024
    half = Counting()
    half.layers, half.channels, half.dtype = 30, 1024, torch.float16
    small = Counting()
    steep, steeper, level = (ratios(LearntClock(each, tmp_path), [8])[0] for each in (wide, half, small))
    assert level < steep < steeper < 8


def test_it_learns_the_curve_from_the_rounds(tmp_path: Path) -> None:
    chance = random.Random(1)
    rounds = [[chance.choice([1, 1, 1, 2, 3, 4, 5, 8])] for _ in range(250)]
    clock = taught(LearntClock(Counting(), tmp_path), rounds, stepped)
    assert 0.02 < clock.cost(1) < 0.024
    assert ratios(clock, [2, 3, 4, 5, 8]) == pytest.approx([STEPS[n - 1] for n in (2, 3, 4, 5, 8)], rel=0.06)
    assert clock.knows()


def test_a_few_rounds_tell_most_of_it(tmp_path: Path) -> None:
    """Ten plain rounds, and each wider window twice, of which the first warms up."""
    clock = taught(LearntClock(Counting(), tmp_path), [[1]] * 10 + [[2], [2], [4], [4]], stepped)
    assert ratios(clock, [2, 4]) == pytest.approx([1.5, 2.0], rel=0.12)


def test_what_is_not_tried_is_told_a_little_lower_and_so_is_tried(tmp_path: Path) -> None:
    clock = taught(LearntClock(Counting(), tmp_path), [[1], [4]] * 20, stepped)
    known = clock.cost(4) / clock.cost(1)
    taught(clock, [[1]] * 4000, stepped)
    assert clock.cost(4) / clock.cost(1) < 0.95 * known


def test_the_pace_of_the_moment_is_no_matter_of_the_curve(tmp_path: Path) -> None:
    """All windows take three times as long from now on: so do those that come later."""
    clock = taught(LearntClock(Counting(), tmp_path), [[1], [4]] * 60, stepped)
    taught(clock, [[1]] * 60, lambda lengths: 3 * stepped(lengths))
    assert clock.cost(1) == pytest.approx(0.06, rel=0.1)
    assert clock.cost(4) / clock.cost(1) == pytest.approx(2.0, rel=0.1)


def test_of_many_rounds_without_drafts_few_are_learnt_from(tmp_path: Path) -> None:
    """They say the same again; one with drafts is heard at once."""
    clock = taught(LearntClock(Counting(), tmp_path), [[1], [4]] * 30 + [[1]] * 200, stepped)
    assert 60 < clock._rounds < 120
    before = clock._rounds
    taught(clock, [[4]], stepped)
    assert clock._rounds == before + 1


def test_hiccups_are_hardly_believed(tmp_path: Path) -> None:
    clock = taught(LearntClock(Counting(), tmp_path), [[1], [2]] * 60, stepped)
    before = ratios(clock, [2])[0]
    clock.learn([2], 1.0)
    assert ratios(clock, [2])[0] < 1.1 * before


@pytest.mark.parametrize("padding", [0.02, 0.1])
def test_batches_and_their_padding(padding: float, tmp_path: Path) -> None:
    """A slot costs .1, in a batch of eight half as much again, and one that is padding what it costs."""

    def cost(lengths: Sequence[int]) -> float:
        filled = max(lengths) * len(lengths) - sum(lengths)
        return (1.0 + 0.1 * (sum(lengths) - 1)) * (1.5 if len(lengths) > 1 else 1.0) + padding * filled

    shapes = [[1], [8], [1] * 8, [5, *[1] * 7], [2] * 8] * 60
    clock = taught(LearntClock(Counting(), tmp_path), shapes, cost)
    found = [clock.cost(1, 8), clock.cost(12 / 8, 8, 28), clock.cost(2, 8)]
    assert found == pytest.approx([0.02 * cost(lengths) for lengths in shapes[2:5]], rel=0.12)
    assert clock.knows(8) and not clock.knows(64)


def test_what_was_learnt_is_where_the_next_process_begins(tmp_path: Path) -> None:
    clock = taught(LearntClock(Counting(), tmp_path), [[1], [2], [4]] * 50, stepped)
    clock.keep()
    again, elsewhere = LearntClock(Counting(), tmp_path), LearntClock(Counting(), tmp_path / "nowhere")
    assert ratios(again, [2, 4]) == pytest.approx([1.5, 2.0], rel=0.1) and again.knows()
    assert ratios(elsewhere, [2, 4]) != pytest.approx([1.5, 2.0], rel=0.1) and not elsewhere.knows()
    assert not LearntClock(Counting(), tmp_path, fresh=True).knows()
    other = TableModel(5, lambda path: [0.0] * 5)
    assert describe(other) != describe(Counting())


def test_it_is_written_down_as_rounds_go_by(tmp_path: Path) -> None:
    clock = taught(LearntClock(Counting(), tmp_path), [[1]] * 16, stepped)
    assert not list(tmp_path.iterdir())
    taught(clock, [[1]], stepped)  # the first of all was not learnt from
    assert len(list(tmp_path.iterdir())) == 1


def test_threads_make_other_costs() -> None:
    model, before = Counting(), torch.get_num_threads()
    described = describe(model)
    try:
        torch.set_num_threads(before + 1)
        assert describe(model) != described
    finally:
        torch.set_num_threads(before)


def test_an_unwritable_memory_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    clock = taught(LearntClock(Counting(), tmp_path / "file"), [[1]] * 40, stepped)
    clock.keep()
    assert clock.cost(1) == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    "text",
    [
        '{"learnt": [[0, 0.1, 0.0]]}',
        '{"learnt": [[0, 0.1, -1.0]]}',
        '{"learnt": [[2, 1e400, 0.1]]}',
        '{"learnt": [[2, NaN, 0.1]]}',
        '{"learnt": [[2, 0.1, NaN]]}',
        '{"learnt": [[2, 900.0, 0.1]]}',
        '{"learnt": [[-1, 0.1, 0.1]]}',
        '{"learnt": [[4000, 0.1, 0.1]]}',
        '{"learnt": [[%s, 0.1, 0.1]]}' % ("9" * 400),
        '{"learnt": [[2, 0.1, 900.0]]}',
        '{"learnt": [[1]]}',
        '{"learnt": 5}',
        "[" * 100_000,
        "[]",
        "",
    ],
)
def test_a_file_that_makes_no_sense_is_as_none(text: str, tmp_path: Path) -> None:
    taught(LearntClock(Counting(), tmp_path), [[1]] * 17, stepped)
    (path,) = tmp_path.iterdir()
    path.write_text(text, encoding="utf-8")
    clock, fresh = LearntClock(Counting(), tmp_path), LearntClock(Counting(), fresh=True)
    assert [clock.cost(size) for size in SIZES] == [fresh.cost(size) for size in SIZES]
    taught(clock, [[1]] * 17, stepped)
    assert json.loads(path.read_text())["learnt"]  # the file is mended


def test_windows_that_are_no_knots_lie_between_them(tmp_path: Path) -> None:
    clock = taught(LearntClock(Counting(), tmp_path), [[1], [8], [16]] * 30, stepped)
    costs = [clock.cost(slots) for slots in (17, 18, 18.5, 19, 20)]
    assert costs == sorted(costs) and costs[1] == pytest.approx((2 * costs[0] + costs[4]) / 3)
    assert clock.cost(2 * SLOTS[-1]) >= clock.cost(SLOTS[-1])
    clock.learn([4000], 9.0)
    clock.learn([4000], 9.0)  # larger than any that it tells of
    assert clock.cost(1) < 0.03


def test_answers_teach_the_clock_and_are_not_kept_waiting(tmp_path: Path) -> None:
    """Whatever is evaluated is evaluated for the answer: one prompt and one window a round."""
    model = TableModel.random(12, 0)
    sizes: list[int] = []
    evaluate = model.evaluate

    def counted(window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        sizes.append(window.tokens.shape[1])
        return evaluate(window, cache, want)

    model.evaluate = counted  # type: ignore[method-assign]
    clock = LearntClock(model, tmp_path)
    answer = Engine(model, clock=clock).generate([0, 1, 2], "auto", max_new_tokens=300, end_tokens=())
    assert len(sizes) == answer.counters.rounds + 1 and list(tmp_path.iterdir())


def test_a_study_sees_windows_of_every_size_and_of_unequal_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A window costs 1 and .1 a slot by a stopwatch that only windows move."""
    model, time = Counting(), [0.0]
    evaluate = model.evaluate

    def timed(window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        time[0] += 1.0 + 0.1 * sum(window.lengths)
        return evaluate(window, cache, want)

    model.evaluate = timed  # type: ignore[method-assign]
    monkeypatch.setattr(machine, "stopwatch", lambda device: lambda: time[0])
    clock = LearntClock(model, tmp_path)
    study(model, clock, budget=0.0)
    study(model, clock, rows=8, budget=0.0)
    assert {*SIZES} <= {*model.sizes} and {1, 8} == {*model.rows}
    assert max(size * rows for size, rows in zip(model.sizes, model.rows, strict=True) if size <= 64) <= 128
    assert [clock.cost(size) for size in SIZES] == pytest.approx([1 + 0.1 * size for size in SIZES], rel=0.1)
    assert clock.cost(2, 8) == pytest.approx(2.6, rel=0.1)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_short_model_is_studied_within_its_positions(tmp_path: Path) -> None:
    for positions in (12, 1):
        model = Counting(max_positions=positions)
        study(model, LearntClock(model, tmp_path), budget=0.0)
        assert max(model.sizes) <= max(positions // 2, 1)
