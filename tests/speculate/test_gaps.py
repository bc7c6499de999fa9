"""A token's position is no slot's number: rows whose caches dropped tokens in the middle are read and written alike."""

from __future__ import annotations

import pytest

from laws.worlds import GREEDY, plainly
from speculate.drafters.growing import WARM
from stretto.context import Context
from stretto.method import parse
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Want
from stretto.models.reading import read, skip
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.loop import Speculate
from stretto.speculate.small_model import SmallModel
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import ROOT

MODEL = TableModel.random(5, seed=3)  # looks at the last two tokens: what was before may be dropped
PROMPT = [1, 2, 3, 4, 1, 2, 3, 0, 1, 2]
METHODS = [
    "lookup+fixed(4)",
    "draft(d)+fixed(3)",
    "draft-tree(model=d)+fixed(5)",
    "pearl(d)+fixed(4)",
    "suffix+fixed(4)",
]


@pytest.mark.parametrize("pipeline", [GREEDY, WARM], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", METHODS)
def test_rows_with_gaps_are_decoded_as_without(name, pipeline):
    method = parse(name)
    assert isinstance(method, Speculate)
    second = TableModel.random(5, seed=3, order=1)
    second.name = "second"
    loop = method.loop(Context(MODEL, SimulatedClock(), lambda name: second), MODEL.new_cache(slots=4))
    rows = []
    for start in (0, 3):
        row = Row(History(PROMPT[start:]), loop.cache.open(), Rule(pipeline, 7, 0), Limits(24))
        loop.add(row)
        rows.append(row)
    while loop.rows:
        for row in loop.rows:  # the third token goes, round by round
            loop.cache.keep(row.cache_row, 2, range(3, loop.cache.length(row.cache_row)))
            assert loop.cache.following(row.cache_row) == len(row.history.tokens) - 1
        loop.step()
        drafting = loop.usual.drafting
        if (reading := getattr(drafting, "small", None)) is not None:
            if hasattr(drafting, "wait"):
                drafting.wait()
            for row in reading.cache.rows:
                if reading.cache.length(row) > 6:
                    reading.cache.keep(row, 2, range(3, reading.cache.length(row)))
    for row, start in zip(rows, (0, 3), strict=True):
        assert row.new_tokens == plainly(MODEL, PROMPT[start:], pipeline, 7, 24)


def test_reading_goes_on_at_the_position_and_not_at_the_slot():
    cache = MODEL.new_cache()
    row = cache.open()
    skip(MODEL, cache, row, PROMPT[:6])
    cache.keep(row, 1, [4, 5])
    assert [start for _, start in read(MODEL, cache, row, PROMPT[6:], Want(), size=lambda: 3)] == [6, 9]
    assert cache.row_positions(row).tolist() == [0, 4, 5, 6, 7, 8, 9]
    cache.rewind(row, 8)
    assert cache.row_positions(row).tolist() == [0, 4, 5, 6, 7]
    cache.rewind(row, 9)
    assert (cache.length(row), cache.following(row), cache.position(row, 1)) == (5, 8, 4)


def test_a_reader_goes_on_at_the_position_and_not_at_the_slot():
    second = SmallModel(Context(MODEL, SimulatedClock(), lambda name: MODEL), MODEL)
    row = Row(History(PROMPT), -1, Rule(GREEDY), Limits(9))
    draft = second.open(row)
    second.read([draft], [[ROOT]])
    second.cache.keep(draft.cache_row, 2, range(5, len(PROMPT)))
    assert draft.unread == 0
    row.history.extend([4, 4, 2])
    assert draft.unread == 3
    node = draft.node(1)
    (after,) = second.read([draft], [[node]])
    assert after.tolist() == MODEL.rule((2, 1))
    positions = second.cache.row_positions(draft.cache_row).tolist()
    assert positions == [0, 1, *range(5, 14)]
    said = [*row.history.tokens, 1]
    assert second.cache.keys(draft.cache_row, 0)[0, :, 0].tolist() == [said[at] for at in positions]
    assert second.cache.row_positions(draft.fork(row).cache_row).tolist() == positions[:-1]
