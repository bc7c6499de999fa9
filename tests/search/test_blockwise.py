"""Blocks: the best of several goes on, as often as its odds say, up to best of n."""

from __future__ import annotations

import math

import pytest

from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.search.blockwise import Blockwise
from stretto.search.scorers.by_function import ByFunction
from stretto.search.segmenters import Every

CHANCE = {"temperature": 1.0, "end_tokens": ()}
GOOD = ByFunction(lambda text: text.split().count("1"))  # of three tokens, which come with .6, .3 and .1


def engine() -> Engine:
    return Engine(TableModel(3, lambda path: [math.log(0.6), math.log(0.3), math.log(0.1)]), clock=SimulatedClock())


def test_four_blocks_of_one_token_meet_what_comes_in_three_of_ten_times_at_1_minus_the_fourth_power_of_seven() -> None:
    served, search = engine(), Blockwise(4, GOOD, Every(1))
    found = served.generate([[0]] * 1, search, max_new_tokens=400, seed=2, **CHANCE)[0]
    share = found.tokens.count(1) / 400
    assert abs(share - 0.7599) < 3.3 * math.sqrt(0.7599 * 0.2401 / 400)
    assert found.counters.branches == 1 + 3 * 400


def test_blocks_as_long_as_answers_are_best_of_n() -> None:
    settings = {"max_new_tokens": 8, "seed": 5, **CHANCE}
    blocks = engine().generate([0], Blockwise(4, GOOD, Every(8)), **settings)
    best = engine().generate([0], "best-of(4,matches(1 .*1 .*1))", **settings)
    drawn = engine().generate([[0]], "plain", samples=4, **settings)
    assert blocks.tokens in [each.tokens for each in drawn] and best.tokens in [each.tokens for each in drawn]
    assert blocks.tokens.count(1) == max(each.tokens.count(1) for each in drawn)


def test_a_block_that_ends_the_answer_is_judged_beside_the_others() -> None:
    """2 ends an answer: liked, it is taken as soon as it comes; not liked, it never is while others go on."""
    served, settings = engine(), {"max_new_tokens": 30, "seed": 1, "temperature": 1.0, "end_tokens": (2,)}
    short = served.generate([0], Blockwise(8, ByFunction(lambda text: "2" in text), Every(1)), **settings)
    long = served.generate([0], Blockwise(8, ByFunction(lambda text: "2" not in text), Every(1)), **settings)
    assert short.finish == "end" and len(short.tokens) < 15
    assert long.finish == "length" and len(long.tokens) == 30


def test_no_blocks_are_none() -> None:
    with pytest.raises(InvalidRequest, match="at least 1"):
        Blockwise(0)
