"""When a row ends: after the whole canvas, or at an end token that nothing open stands before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from diffuse.canvases import answer
from stretto.diffuse.canvas import Delta
from stretto.diffuse.stops.contract import Stop, StopState
from stretto.method import parse
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

END, MASK = 1, 4


def says(position: int, seen: dict[int, int]) -> list[float]:
    """Token 2, and an end token at position 4; behind it the less sure the later."""
    return [0.0, 9.0 * (position == 4), 2.0, position / 10 if position > 4 else 0.0, 0.0]


ENDING = MaskedTable(5, says, Masking(MASK))


def test_the_text_is_the_same_and_the_cost_is_not() -> None:
    full = answer(ENDING, [0], "low-confidence+blocks(2)", max_new_tokens=10, end_tokens=[END])
    early = answer(ENDING, [0], "low-confidence+blocks(2)+end-of-text", max_new_tokens=10, end_tokens=[END])
    assert full.tokens == early.tokens == [2, 2, 2, END]
    assert full.finish == early.finish == "end"
    assert (full.counters.rounds, early.counters.rounds) == (10, 4)


def test_an_end_token_with_masks_before_it_ends_nothing_yet() -> None:
    """The end token is filled first; the row ends when the three positions before it are."""
    found = answer(ENDING, [0], "low-confidence+end-of-text", max_new_tokens=10, end_tokens=[END])
    assert found.steps[0].positions == [4] and found.tokens == [2, 2, 2, END]
    assert found.counters.rounds > 3


def test_without_end_tokens_nothing_stops() -> None:
    found = answer(ENDING, [0], "low-confidence+end-of-text", max_new_tokens=6, end_tokens=())
    assert len(found.tokens) == 6 and found.finish == "length"


def test_an_end_token_in_the_prompt_does_not_count() -> None:
    found = answer(ENDING, [END, END], "low-confidence+blocks(1)+end-of-text", max_new_tokens=2, end_tokens=[END])
    assert found.tokens == [2, 2]


@dataclass(frozen=True, slots=True)
class AllIn(Stop):
    """After two steps everything that is open is filled as predicted, the far blocks too."""

    name: ClassVar[str] = "all-in"

    def open(self, canvas, context):
        return AllInState()


class AllInState(StopState):
    def looks(self, canvas, window):
        return np.flatnonzero(canvas.open)

    def ended(self, canvas, prediction):
        if canvas.step < 1:
            return None
        left = np.flatnonzero(canvas.open[prediction.positions])
        return Delta.of(prediction, left)


@pytest.mark.parametrize("refresh", ["recompute", "dual-cache", "prefix-cache"])
def test_a_stop_may_look_beyond_the_window_and_fill_the_rest(refresh: str) -> None:
    parts = replace(parse(f"low-confidence+blocks(2)+{refresh}"), stop=AllIn())
    found = answer(ENDING, [[0], [0, 0]], parts, max_new_tokens=8, end_tokens=())
    for row in found:
        assert row.counters.rounds == 2 and len(row.tokens) == 8 and row.finish == "length"
        assert [len(step.positions) for step in row.steps] == [1, 7]
    assert found[0].tokens == [2, 2, 2, END, 2, 2, 2, 2]
