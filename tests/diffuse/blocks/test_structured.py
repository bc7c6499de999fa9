"""Blocks by what is unsure: how much the canvas grows, where it is cut, what comes next; and edges filled twice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffuse.canvases import GREEDY, answer, context, predict
from stretto.diffuse.blocks.structured import Structured, StructuredState
from stretto.diffuse.canvas import Canvas, Span
from stretto.diffuse.orders.weld import Weld
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.steer.choice import Rule

MASK, END = 4, 1
TABLE = MaskedTable.random_masked(5, 2, Masking(MASK), sharpness=2.5)
SETTINGS = {"max_new_tokens": 12, "end_tokens": (), "temperature": 0.8, "seed": 3}
EVEN, SURE = [0.25, 0.25, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]


def opened(settings: Structured, rows: list[list[float]], limit: int, seed: int = 0) -> tuple[StructuredState, Canvas]:
    """A session that has settled its first block on a canvas with one given token, and what the model says."""
    canvas = Canvas(np.array([0]), Masking(MASK), limit, Rule(GREEDY, seed), frozenset([END]))
    session = settings.open(canvas, context(TABLE))
    window = session.window(canvas)
    assert window is not None
    session.settle(canvas, window, predict(canvas, rows[: window.end - 1]))
    return session, canvas


def lengths(settings: Structured, rows: list[list[float]], seed: int = 0) -> list[int]:
    session, canvas = opened(settings, rows, len(rows) + 1, seed)
    blocks = sorted(session.blocks)
    assert [b.start for b in blocks] == [1, *(b.end for b in blocks[:-1])] and blocks[-1].end == len(canvas)
    return [block.end - block.start for block in blocks]


def test_the_extremes_of_the_partition() -> None:
    rows = [SURE, EVEN, [0.5, 0.5, 0.0, 0.0, 0.0]] * 4
    assert lengths(Structured((0,), novelty=0), rows) == [12]
    assert lengths(Structured((0,), novelty=math.inf), rows) == [1] * 12
    assert all(sum(lengths(Structured((0,), novelty=1), rows, seed)) == 12 for seed in range(20))


def test_the_lengths_of_blocks_where_all_is_alike() -> None:
    """No instability and novelty 1: a block goes on with s / (s + 1), so it is longer than s with 1 / (s + 1)."""
    trials = 1500
    first = [lengths(Structured((0,), novelty=1), [SURE] * 6, seed)[0] for seed in range(trials)]
    expected = [1 / 2, 1 / 6, 1 / 12, 1 / 20, 1 / 5]  # of 1, 2, 3, 4, and more
    counts = [sum(each == size for each in first) for size in range(1, 5)]
    counts.append(trials - sum(counts))
    statistic = sum((n - trials * p) ** 2 / (trials * p) for n, p in zip(counts, expected, strict=True))
    assert statistic < 18.5  # 4 degrees of freedom, p = 0.001


def test_cuts_fall_where_stability_changes() -> None:
    """Six sure positions, then six unsure ones: a cut there is likelier than inside."""
    cuts = np.zeros(12)
    for seed in range(150):
        found = np.cumsum(lengths(Structured((0,), novelty=0.3), [SURE] * 6 + [EVEN] * 6, seed))[:-1]
        cuts[found] += 1
    assert cuts[6] > 1.5 * max(cuts[4], cuts[5])


def test_the_canvas_grows_by_what_looks_stable() -> None:
    settings = Structured((4, 8, 16), novelty=0)
    assert len(opened(settings, [SURE] * 16, 99)[1]) == 17
    ends = [[0.0, 1.0, 0.0, 0.0, 0.0]]
    assert len(opened(settings, [SURE] * 5 + ends + [SURE] * 10, 99)[1]) == 5  # an end token is in output
    assert len(opened(settings, [SURE] * 16, 7)[1]) == 7
    session, canvas = opened(settings, [SURE] * 16, 40)
    canvas.ids[:], canvas.filled[:] = 0, 0
    assert session.window(canvas) == Span(17, 33) and len(canvas) == 33


def test_the_length_follows_the_answer() -> None:
    """The model would end at position 9 of up to 64: little more than that is generated."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        return [0.0, 9.0 if position >= 9 else -9.0, 4.0, 0.0, 0.0]

    model = MaskedTable(5, says, Masking(MASK))
    settings = {"max_new_tokens": 64, "end_tokens": [END]}
    found = answer(model, [0], "threshold(1.1)+structured-blocks(4,8)+end-of-text", **settings)
    whole = answer(model, [0], "threshold(1.1)", **settings)
    assert found.tokens == whole.tokens and len(found.tokens) == 9
    assert found.counters.rounds <= 12 < whole.counters.rounds == 64


def test_context_alone_decodes_from_left_to_right() -> None:
    rows = [EVEN, SURE, EVEN, SURE, EVEN, SURE]
    session, canvas = opened(Structured((0,), novelty=math.inf, calm=0, context=9, near=1), rows, 7)
    starts = []
    while (window := session.window(canvas)) is not None:
        starts.append(window.start)
        canvas.ids[window.start], canvas.filled[window.start] = 0, 0
    assert starts == [1, 2, 3, 4, 5, 6]
    session, canvas = opened(Structured((0,), novelty=math.inf, calm=9, context=0), rows, 7)
    assert session.window(canvas) == Span(2, 3)


@pytest.mark.parametrize("order", ["threshold(1.1)", "low-confidence", "ranked", "random-order"])
@pytest.mark.parametrize("refresh", ["recompute", "dual-cache"])
def test_one_block_of_the_whole_canvas_is_the_baseline(order: str, refresh: str) -> None:
    plain = answer(TABLE, [0, 2], f"{order}+{refresh}", **SETTINGS)
    found = answer(TABLE, [0, 2], f"{order}+structured-blocks(0,novelty=0)+{refresh}", **SETTINGS)
    assert found.tokens == plain.tokens
    assert [s.positions for s in found.steps] == [s.positions for s in plain.steps]


def test_flips_count_as_unstable() -> None:
    session, canvas = opened(Structured((0,), novelty=math.inf, calm=9, context=0), [SURE] * 6, 7)
    current = session.window(canvas)
    assert current is not None
    turned = [[0.0, 0.0, 1.0, 0.0, 0.0] if at in (1, 2) else SURE for at in range(6)]
    session.settle(canvas, current, predict(canvas, turned))
    assert session._instability(Span(1, 7)).tolist() == pytest.approx([0, 0.5, 0.5, 0, 0, 0])


def test_settings_out_of_range() -> None:
    for wrong in ({"sizes": (-1,)}, {"near": 0}, {"novelty": -1.0}, {"calm": -0.1}):
        with pytest.raises(InvalidRequest):
            Structured(**wrong)
    block = MaskedTable.random_masked(5, 2, Masking(MASK, block=4))
    with pytest.raises(Unsupported, match="cuts its own"):
        answer(block, [0], "threshold+structured-blocks", **SETTINGS)


# -- welding ------------------------------------------------------------------------------------------


def unsure(position: int, seen: dict[int, int]) -> list[float]:
    """Never sure; near the edge between the blocks another token where both sides are known."""
    both = seen.get(position - 1, 0) != MASK and seen.get(position + 1, 0) != MASK
    return [1.0, 0.0, 0.5 + both, 0.2, 0.0]


def test_an_edge_is_welded_once() -> None:
    """Two blocks of four: positions 3 and 4, of reach 2 on the left and none of the last step's on the right."""
    model = MaskedTable(5, unsure, Masking(MASK))
    found = answer(model, [0], "weld(1.1,reach=2)+blocks(4)", max_new_tokens=8, end_tokens=())
    taken = [step.remasked for step in found.steps if step.remasked]
    assert len(taken) == 1 and set(taken[0]) <= {3, 4, 5, 6} and 1 <= len(taken[0]) <= 4
    assert found.counters.rounds == 8 + len(taken[0]) and len(found.tokens) == 8
    assert found.steps[7].remasked == taken[0]


def test_all_edges_of_many_blocks() -> None:
    for seed in range(5):
        settings = SETTINGS | {"seed": seed}
        found = answer(TABLE, [0, 2], "weld(0.5,reach=1,below=1.0)+blocks(3)", **settings)
        taken = [at for step in found.steps for at in step.remasked]
        assert len(taken) <= 6 and set(taken) <= {4, 5, 7, 8, 10, 11} and len(set(taken)) == len(taken)


@pytest.mark.parametrize("weld", ["weld(0.6,reach=0)", "weld(0.6,below=0)"])
def test_without_edges_it_is_the_threshold(weld: str) -> None:
    plain = answer(TABLE, [0, 2], "threshold(0.6)+blocks(3)+dual-cache", **SETTINGS)
    found = answer(TABLE, [0, 2], f"{weld}+blocks(3)+dual-cache", **SETTINGS)
    assert found.tokens == plain.tokens
    assert [s.positions for s in found.steps] == [s.positions for s in plain.steps]
    with pytest.raises(InvalidRequest):
        Weld(reach=-1)


def test_what_was_given_is_no_block() -> None:
    model = MaskedTable(5, unsure, Masking(MASK))
    found = answer(model, [0, MASK, MASK, 3, 3, MASK, MASK], "weld(1.1)+blocks(2)", end_tokens=())
    assert not any(step.remasked for step in found.steps)
