"""ReDiff's order: what is filled is written over where the model has come to say something else."""

from __future__ import annotations

import pytest

from diffuse.canvases import answer, filled_per_step
from models.masked_checkpoints import save
from stretto.diffuse.orders.revise import Revise
from stretto.errors import InvalidRequest
from stretto.models.load import load
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

MASK = 4
SETTINGS = {"max_new_tokens": 6, "end_tokens": ()}


def correcting(wrong: dict[int, int], right: int = 1, after: int = 3) -> MaskedTable:
    """Fills `right` everywhere, but something else at some positions as long as few others are known."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        known = sum(token != MASK for at, token in seen.items() if at not in (0, position))
        token = wrong.get(position, right) if known < after else right
        return [(6.0 if position in wrong else 4.0 - 0.1 * position) * (each == token) for each in range(5)]

    return MaskedTable(5, says, Masking(MASK))


def test_a_wrong_token_is_rewritten_in_one_step() -> None:
    found = answer(correcting({2: 0}), [0], "revise", **SETTINGS)
    assert found.tokens == [1] * 6
    assert [step.revised for step in found.steps] == [[], [], [], [], [2], []]
    assert filled_per_step(found) == [1] * 6  # rewriting is no progress
    assert answer(correcting({2: 0}), [0], "revise(share=0)", **SETTINGS).tokens == [1, 0, 1, 1, 1, 1]


def test_only_from_a_share_of_the_window_on() -> None:
    late = answer(correcting({2: 0}, after=1), [0], "revise(begin=0.6)", **SETTINGS)
    assert [step.revised for step in late.steps] == [[], [], [], [], [2], []]
    early = answer(correcting({2: 0}, after=1), [0], "revise", **SETTINGS)
    assert [step.revised for step in early.steps] == [[], [], [2], [], [], []]


def test_only_a_share_of_what_is_filled_the_surest_first() -> None:
    """Half of the four that are filled: two, and the one that is wrong is the surest."""
    assert answer(correcting({2: 0}), [0], "revise(share=0.5)", **SETTINGS).tokens == [1] * 6
    unsure = answer(correcting({2: 0, 3: 0}), [0], "revise(share=0.01)", **SETTINGS)
    assert [step.revised for step in unsure.steps] == [[], [], [], [], [2], []]


def swinging() -> MaskedTable:
    """At position 1 always the other token than the one that stands there."""

    def says(position: int, seen: dict[int, int]) -> list[float]:
        if position == 1:
            return [6.0 * (token == (0 if seen[1] == 1 else 1)) for token in range(5)]
        return [0.0, 0.0, 2.0, 0.0, 0.0]

    return MaskedTable(5, says, Masking(MASK))


def test_two_tokens_that_call_for_each_other_come_to_rest() -> None:
    for most in (0, 1, 2, 3):
        found = answer(swinging(), [0], f"revise(most={most})", **SETTINGS)
        assert sum(len(step.revised) for step in found.steps) == most
        assert found.tokens[0] == (0 if most % 2 else 1) and found.counters.rounds == 6


def test_an_end_token_is_not_written_over_another() -> None:
    model = correcting({2: 0}, right=3)
    assert answer(model, [0], "revise", max_new_tokens=6, end_tokens=()).tokens == [3] * 6
    found = answer(model, [0], "revise", max_new_tokens=6, end_tokens=[3], stop=())
    assert not any(step.revised for step in found.steps)


def test_what_may_not_be_drawn_is_not_written_either() -> None:
    found = answer(correcting({2: 0}), [0], "revise", banned_tokens=[1], **SETTINGS)
    assert 1 not in found.tokens


def test_the_likeliest_token_is_written_whatever_is_drawn() -> None:
    """At a high temperature the draw at a filled position would be anything."""
    found = [
        answer(correcting({}), [0], "revise(most=9)", temperature=3.0, seed=seed, **SETTINGS) for seed in range(14)
    ]
    revised = [(each, p) for each in found for step in each.steps for p in step.revised]
    assert len(revised) > 5 and all(each.tokens[p - 1] == 1 for each, p in revised)


@pytest.mark.parametrize("refresh", ["dual-cache", "prefix-cache"])
def test_rewritten_rows_are_computed_anew(tmp_path, refresh: str) -> None:
    """In one block that is the whole canvas, a cache may keep the prompt alone."""
    model = load(save("llada", tmp_path / "llada")).model
    settings = {"max_new_tokens": 12, "end_tokens": (), "temperature": 1.5, "seed": 3}
    plain, kept = (answer(model, [5, 7, 9], f"revise(most=3){rest}", **settings) for rest in ("", f"+{refresh}"))
    assert sum(len(step.revised) for step in plain.steps) > 0 and sum(len(step.revised) for step in kept.steps) > 0
    for step in kept.steps[1:]:
        assert len(step.positions) == 1
    assert kept.counters.token_forwards == 15 + 11 * 12


@pytest.mark.parametrize(
    "wrong",
    [lambda: Revise(-1), lambda: Revise(share=1.5), lambda: Revise(begin=-0.1), lambda: Revise(most=-1)],
)
def test_settings_out_of_range(wrong) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wrong()
    assert caught.value.hint
