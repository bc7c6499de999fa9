"""Laws of what fills canvases, on table models that see everything, or block by block, shifted or not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .. import method
from ..context import Context
from ..diffuse.canvas import Canvas
from ..diffuse.loop import Loop
from ..diffuse.method import Diffuse
from ..diffuse.orders.contract import OrderState
from ..engine import Engine
from ..errors import StrettoError
from ..models.clock import SimulatedClock
from ..models.contract import Model
from ..models.masked import Masking
from ..models.table import MaskedTable
from ..request import Request
from ..row import Limits, Row
from ..steer.choice import Rule
from ..steer.path import History

MASK, END = 5, 1
WORLDS = {
    "bidirectional": MaskedTable.random_masked(6, 3, Masking(MASK), sharpness=2.5),
    "shifted": MaskedTable.random_masked(6, 4, Masking(MASK, shift=True), sharpness=2.5),
    "block-causal": MaskedTable.random_masked(6, 5, Masking(MASK, block=4), sharpness=2.5),
    "shifted block-causal": MaskedTable.random_masked(6, 6, Masking(MASK, shift=True, block=4), sharpness=2.5),
}
PROMPTS = [[0, 2, 3], [4], [2, MASK, MASK, 3, 0, MASK, 4]]  # of unequal lengths, the last with holes
NEW = 7
WARM = Request(temperature=0.8).pipeline(frozenset())


def engine(model: Model) -> Engine:
    """An engine without a tokenizer, under a clock that always tells the same."""
    return Engine(model, clock=SimulatedClock())


def fits(chosen: Diffuse, model: MaskedTable) -> bool:
    """Whether a method is for this model; what it is not for it refuses with a hint."""
    try:
        method.check(chosen, model, WARM)
    except StrettoError as error:
        assert error.hint
        return False
    return True


def loop_of(chosen: Diffuse, model: Any, **settings: Any) -> tuple[Loop, list[Row]]:
    """The prompts as rows, each step to be made by hand."""
    request = Request(**settings)
    context = Context(model, SimulatedClock(), lambda name: model)
    loop = chosen.loop(context, model.new_cache(1, 4))
    rows = []
    for tokens in PROMPTS:
        first = tokens.index(MASK) if MASK in tokens else len(tokens)
        given = tokens[first:]
        limits = Limits(len(given) or NEW, frozenset([END]))
        rule = Rule(request.pipeline(limits.ends), request.noise, 0)
        rows.append(Row(History(tokens[:first]), loop.cache.open(), rule, limits, given=given))
        loop.add(rows[-1])
    return loop, rows


def every_step_is_lawful(chosen: Diffuse, model: MaskedTable, turn: int = 0) -> None:
    """What is given stays, no mask is left, no position is filled twice but where it was taken back.

    That is asked of the rows of a batch, step by step; and one of them, the `turn`-th, gives the same alone, in pieces.
    """
    text = method.describe(chosen)
    settings: dict[str, Any] = {"temperature": 0.8, "seed": 5}
    loop, rows = loop_of(chosen, model, **settings)
    canvases = [loop.canvas(row) for row in rows]
    given = [(canvas.frozen.copy(), canvas.ids.copy()) for canvas in canvases]
    rounds = 0
    while loop.rows:
        loop.step()
        rounds += 1
        for canvas, (frozen, ids) in zip(canvases, given, strict=True):
            size = len(canvas)  # a stop may cut the canvas, but nothing that is given
            assert (canvas.ids[: len(ids)][frozen[:size]] == ids[:size][frozen[:size]]).all(), text
            assert not frozen[size:].any(), text
    for row, canvas in zip(rows, canvases, strict=True):
        assert MASK not in row.new_tokens and row.new_tokens, text  # no mask is left
        assert row.finish == ("end" if row.new_tokens[-1] == END else "length"), text
        assert row.counters.rounds == len(row.steps) <= rounds
        slow = sum(max(0, 1 - len(step.positions) + len(step.remasked)) for step in row.steps)
        assert row.counters.rounds <= canvas.total + slow, text
        if type(chosen.order.open(canvas, loop.context)).spare is OrderState.spare:
            assert slow == 0, text
        once(row, canvas, chosen.order.revises, text)
    row, prompt = rows[turn % len(rows)], PROMPTS[turn % len(rows)]
    stream = engine(model).stream(prompt, chosen, max_new_tokens=NEW, end_tokens=[END], **settings)
    assert [token for piece in stream for token in piece.tokens] == row.new_tokens, text
    assert stream.generation.tokens == row.new_tokens, text
    assert [step.positions for step in stream.generation.steps] == [step.positions for step in row.steps], text


def once(row: Row, canvas: Canvas, revises: bool, text: str) -> None:
    """The steps fill each position of the answer once, but for what they take back, and nothing that was given."""
    times = Counter(at for step in row.steps for at in step.positions)
    taken = Counter(at for step in row.steps for at in step.remasked)
    assert revises or not taken, text
    filled = {at: count - taken[at] for at, count in times.items()}
    assert set(filled.values()) <= {0, 1}, text
    whole = np.arange(len(row.history.tokens))[-len(row.new_tokens) :]  # positions of the answer
    free = whole[~canvas.frozen[whole]]
    assert {at for at, count in filled.items() if count} >= set(free.tolist()), text
    assert not {*times} & set(np.flatnonzero(canvas.frozen).tolist()), text
