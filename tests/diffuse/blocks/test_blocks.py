"""Blocks that look for their window anew: sliding, ending at a delimiter, growing with the steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffuse.canvases import GREEDY, answer, blank, context, predict
from stretto.diffuse.blocks.adaptive import Adaptive
from stretto.diffuse.blocks.ascending import AscendingBlocks
from stretto.diffuse.blocks.sliding import Sliding
from stretto.diffuse.canvas import Canvas, Delta, Span
from stretto.diffuse.refresh.dual import DualCache
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.steer.choice import Rule

MASK, END, LINE = 4, 1, 3
TABLE = MaskedTable.random_masked(5, 2, Masking(MASK), sharpness=2.5)
SETTINGS = {"max_new_tokens": 12, "end_tokens": (), "temperature": 0.8, "seed": 3}


def canvas_of(given: list[int], limit: int, block: int | None = None, ends: frozenset[int] = frozenset()) -> Canvas:
    return Canvas(np.array(given), Masking(MASK, block=block), limit, Rule(GREEDY), ends)


def fill(canvas: Canvas, *positions: int) -> None:
    for at in positions:
        canvas.ids[at], canvas.filled[at] = 0, 0


# -- sliding ------------------------------------------------------------------------------------------


def test_the_window_holds_the_leftmost_masks() -> None:
    canvas = canvas_of([0, 0], 10)
    session = Sliding(3).open(canvas, context(TABLE))
    assert session.window(canvas) == Span(2, 5)
    fill(canvas, 3)
    assert session.window(canvas) == Span(2, 6)
    fill(canvas, 2, 5)
    assert session.window(canvas) == Span(4, 8)
    fill(canvas, 4, 6, 7, 8, 9)
    assert session.window(canvas) is None


def test_a_window_stays_in_the_models_own_block() -> None:
    canvas = canvas_of([0], 10, block=4)
    session = Sliding(16).open(canvas, context(TABLE))
    assert session.window(canvas) == Span(1, 4) and len(canvas) == 4
    fill(canvas, 1, 2, 3)
    assert session.window(canvas) == Span(4, 8) and len(canvas) == 8


@pytest.mark.parametrize("refresh", ["recompute", "dual-cache(every=1)"])
def test_as_many_masks_as_the_canvas_has_are_no_blocks(refresh: str) -> None:
    """Also the draws are those of one window: they change from step to step."""
    for order in ("threshold(1.1)", "threshold(0.5)", "first-hitting"):
        plain = answer(TABLE, [0, 2], order, **SETTINGS)
        slid = answer(TABLE, [0, 2], f"{order}+sliding(99)+{refresh}", **SETTINGS)
        assert slid.tokens == plain.tokens and [s.positions for s in slid.steps] == [s.positions for s in plain.steps]
    one = answer(TABLE, [0, 2], f"threshold+sliding(1)+{refresh}", **SETTINGS)
    assert [step.positions for step in one.steps] == [[at] for at in range(2, 14)]


def test_what_was_filled_is_computed_once_more_where_the_window_has_left_it() -> None:
    canvas = canvas_of([0, 0], 8)
    canvas.grow(8)
    session = DualCache().open(canvas, context(TABLE))
    session.begin_window(canvas, Span(2, 4))
    assert session.plan(canvas, Span(2, 4), np.array([2, 3])).rows.tolist() == [*range(8)]
    session.learn(canvas, Delta({2: 0}))
    assert session.plan(canvas, Span(3, 5), np.array([3, 4])).rows.tolist() == [2, 3, 4]
    assert session.plan(canvas, Span(3, 5), np.array([3, 4])).rows.tolist() == [3, 4]


def test_an_order_that_plans_a_window_does_not_slide() -> None:
    with pytest.raises(Unsupported, match="plans the steps") as caught:
        answer(TABLE, [0], "low-confidence+sliding", **SETTINGS)
    assert caught.value.hint
    with pytest.raises(InvalidRequest):
        Sliding(0)


# -- adaptive -----------------------------------------------------------------------------------------


def settled(
    said: dict[int, tuple[int, float]],
    length: int,
    least: float = 0.3,
    size: int = 32,
    share: float = 0.25,
    left: int = 0,
) -> Span:
    """The block that opens where the model predicts (token, confidence) at these offsets, and token 0 elsewhere.

    Of `length` positions all but the last `left` are filled.
    """
    canvas = canvas_of([MASK] * length, length, ends=frozenset([END]))
    fill(canvas, *range(length - left if left else 0))
    session = Adaptive((LINE,), least, size, share).open(canvas, context(TABLE))
    start = length - left if left else 0
    rows = []
    for at in range(start, length):
        token, sure = said.get(at - start, (0, 0.9))
        rows.append([sure if each == token else (1 - sure) / 3 if each < MASK else 0 for each in range(MASK + 1)])
    window = session.window(canvas)
    assert window is not None
    prediction = predict(canvas, rows)
    found = session.settle(canvas, window, prediction.at(session.looks(canvas, window)))
    assert session.window(canvas) == found and not len(session.looks(canvas, found))
    return found


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({9: (LINE, 0.8), 20: (LINE, 0.6)}, 10),  # the surest ends the block
        ({9: (LINE, 0.5), 20: (LINE, 0.6)}, 21),
        ({9: (LINE, 0.8), 4: (END, 0.7)}, 5),  # an end token before it
        ({9: (LINE, 0.8), 4: (END, 0.28)}, 10),  # not sure enough
        ({60: (LINE, 0.8)}, 32),  # too far: 100 positions of 512 are looked at where 100 are left
    ],
)
def test_a_block_ends_at_the_surest_delimiter(said: dict[int, tuple[int, float]], size: int) -> None:
    assert settled(said, 200).end == size


def test_unsure_delimiters_do_not_count() -> None:
    assert settled({9: (LINE, 0.29), 20: (LINE, 0.28)}, 200).end == 32


def test_the_end_of_the_canvas() -> None:
    assert settled({70: (LINE, 0.9)}, 512, left=100) == Span(412, 483)  # 128 positions would be looked at
    assert settled({}, 512, left=20) == Span(492, 512)


@pytest.mark.parametrize("order", ["low-confidence", "threshold(0.5)", "ranked", "random-order", "ascending"])
@pytest.mark.parametrize("refresh", ["recompute", "dual-cache"])
def test_without_delimiters_blocks_are_of_one_size(order: str, refresh: str) -> None:
    """Step for step, and what the forward that opens a block computes is not computed twice."""
    plain = answer(TABLE, [0, 2], f"{order}+blocks(5)+{refresh}", **SETTINGS)
    found = answer(TABLE, [0, 2], f"{order}+adaptive-blocks(3,least=1.1,size=5)+{refresh}", **SETTINGS)
    assert found.tokens == plain.tokens
    assert [step.positions for step in found.steps] == [step.positions for step in plain.steps]
    assert found.counters.token_forwards == plain.counters.token_forwards


def test_blocks_of_unequal_rows_partition_the_answer() -> None:
    """Lines of unequal lengths in a batch; no position is filled before its block begins."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        ends = position in ((4, 9, 11) if seen[0] == 0 else (2, 8))
        return [1.0, 0.0, 0.5, 4.0 if ends else -4.0, 0.0]

    model = MaskedTable(5, says, Masking(MASK))
    method = "random-order+adaptive-blocks(3,size=4,share=0.5)"
    both = answer(model, [[0, 2], [2, 2]], method, **SETTINGS | {"temperature": 0.0})
    for found, ends in zip(both, ([5, 10, 12, 14], [3, 9, 13, 14]), strict=True):
        order = [at for step in found.steps for at in step.positions]
        starts = [2, *ends[:-1]]
        assert [sorted(order[a - 2 : b - 2]) for a, b in zip(starts, ends, strict=True)] == [
            [*range(a, b)] for a, b in zip(starts, ends, strict=True)
        ]
        assert found.counters.rounds == 12


def test_blocks_add_up_to_the_answer_whatever_the_model_says() -> None:
    """200 canvases: each block begins where the one before ended, none is longer than it may be, the last ends it."""
    sizes = set()
    for seed in range(200):
        chance = np.random.default_rng(seed)
        length, size = int(chance.integers(1, 60)), int(chance.integers(1, 12))
        canvas = canvas_of([0] + [MASK] * length, length + 1, ends=frozenset([END]))
        session = Adaptive((LINE,), 0.5, size).open(canvas, context(TABLE))
        end = 1
        while (window := session.window(canvas)) is not None:
            rows = [[*row, 0.0] for row in chance.dirichlet([0.3] * MASK, int(canvas.open.sum()))]
            block = session.settle(canvas, window, predict(canvas, rows).at(session.looks(canvas, window)))
            assert block.start == end < block.end <= min(end + max(size, int(0.25 * length), 1), length + 1)
            end = block.end
            sizes.add(block.end - block.start)
            fill(canvas, *canvas.masks(block).tolist())
        assert end == length + 1
    assert len(sizes) > 8


def test_delimiters_are_found_by_their_text() -> None:
    said = replace(context(TABLE), decode=lambda tokens: {2: "a", 3: ".\n"}.get(tokens[0], ""))
    session = Adaptive().open(blank(4, MASK), said)
    assert session.delimiters.tolist() == [3]
    with pytest.raises(InvalidRequest):
        Adaptive(size=0)
    with pytest.raises(InvalidRequest):
        Adaptive(share=0)


# -- ascending ----------------------------------------------------------------------------------------


def test_blocks_grow_with_the_steps() -> None:
    canvas = canvas_of([0], 129)
    session = AscendingBlocks(4).open(canvas, context(TABLE))
    sizes = []
    while (window := session.window(canvas)) is not None:
        sizes.append(window.end - window.start)
        fill(canvas, *canvas.masks(window).tolist())
    assert sizes == [15, 16, 32, 65]


@pytest.mark.parametrize(("count", "steps"), [(1, [1, 2, 9]), (2, [1, 2, 9]), (99, [1, 2, 9])])
def test_each_step_fills_its_own_block(count: int, steps: list[int]) -> None:
    found = answer(TABLE, [0], f"ascending+ascending-blocks({count})", **SETTINGS)
    assert [len(step.positions) for step in found.steps] == steps


def test_one_block_is_the_whole_canvas() -> None:
    plain = answer(TABLE, [0], "low-confidence", **SETTINGS)
    assert answer(TABLE, [0], "low-confidence+ascending-blocks(1)", **SETTINGS).tokens == plain.tokens
    with pytest.raises(InvalidRequest):
        AscendingBlocks(0)
    block = MaskedTable.random_masked(5, 2, Masking(MASK, block=4))
    with pytest.raises(Unsupported, match="of all sizes"):
        answer(block, [0], "low-confidence+ascending-blocks", **SETTINGS)
