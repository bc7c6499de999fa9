"""Rows join and leave at any time: they stand as in the cache, at a cost that does not know how many there are."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from laws.worlds import GREEDY
from stretto.context import Context
from stretto.method import parse
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.loop import Loop, Speculate
from stretto.steer.choice import Rule
from stretto.steer.path import History

MODEL = TableModel.random(4, seed=1)


def loop_of(rows: int) -> Loop:
    method = parse("lookup+fixed(3)")
    assert isinstance(method, Speculate)
    return method.loop(Context(MODEL, SimulatedClock(), lambda name: MODEL), MODEL.new_cache(rows=rows, slots=64))


def join(loop: Loop) -> Row:
    row = Row(History([1, 2, 3]), loop.cache.open(), Rule(GREEDY), Limits(9))
    loop.add(row)
    return row


def operations(work: Callable[[], object]) -> int:
    """How many instructions of Python an action takes."""
    counted = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal counted
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return counted


def test_joining_and_leaving_cost_the_same_in_any_batch() -> None:
    costs = []
    for size in (8, 200):
        loop = loop_of(size + 1)
        rows = [join(loop) for _ in range(size)]
        costs.append(
            [
                operations(lambda loop=loop: join(loop)),
                *(operations(lambda loop=loop, row=row: loop.remove(row)) for row in (rows[0], rows[3], loop.rows[-2])),
            ]
        )
    assert costs[0] == costs[1]


def test_rows_stand_as_in_the_cache_whoever_joins_and_leaves() -> None:
    chance = random.Random(3)
    loop, foreign = loop_of(2), []
    for _ in range(300):
        if chance.random() < 0.1:  # another user of the cache
            foreign.append(loop.cache.open())
        elif chance.random() < 0.1 and foreign:
            loop.cache.free(foreign.pop(chance.randrange(len(foreign))))
            loop._sort()
        elif chance.random() < 0.55 or not loop.rows:
            join(loop)
        else:
            loop.remove(chance.choice(loop.rows))
        held = [row.cache_row for row in loop.rows]
        assert held == loop.cache.in_order(held)
        assert len(set(held)) == len(held) and all(loop.cache.length(row) == 2 for row in held)
