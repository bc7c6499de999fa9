"""From bits to rounds: what the rounds of an answer settled, on joints that are known."""

from __future__ import annotations

import math

import pytest
import torch

from diffuse.canvases import answer
from stretto.diagnose.bits import Bits, bits_of, threshold_budget
from stretto.errors import InvalidRequest
from stretto.generation import Step
from stretto.models.table import ExactJoint, TableModel

SETTINGS = {"end_tokens": ()}


def joint_of(seed: int, *, size: int = 3, length: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    joint = torch.rand((size,) * length, generator=generator, dtype=torch.float64) ** 3
    return joint / joint.sum()


@pytest.mark.parametrize("order", ["low-confidence", "random-order", "first-hitting", "low-confidence+blocks(2)"])
def test_one_token_a_round_settles_what_the_answer_is_worth(order: str) -> None:
    for seed in range(6):
        joint = joint_of(seed)
        found = answer(ExactJoint(joint), [0], order, max_new_tokens=4, temperature=1.0, seed=seed, **SETTINGS)
        bits = bits_of(found.steps)
        assert len(bits.rounds) == 4
        assert bits.total == pytest.approx(-math.log(joint[tuple(found.tokens)]))


def test_together_it_differs_by_what_the_tokens_share() -> None:
    pair = torch.tensor([[0.5, 0.0], [0.0, 0.5]])
    found = answer(ExactJoint(pair), [0], "threshold(0)", max_new_tokens=2, **SETTINGS)
    assert bits_of(found.steps).rounds == pytest.approx([2 * math.log(2)])  # of the answer's ln 2


@pytest.mark.parametrize("seed", range(8))
def test_rounds_are_never_fewer_than_the_bits_allow(seed: int) -> None:
    joint = joint_of(seed, size=2, length=6)
    for order in ("threshold(0.6)", "factor", "explore(0.6)", "confident(0.7)", "local-leap(0.8,0.6)"):
        found = answer(ExactJoint(joint), [0], order, max_new_tokens=6, **SETTINGS)
        bits = bits_of(found.steps)
        assert found.counters.rounds >= bits.least_rounds - 1e-9
        if order == "threshold(0.6)":
            for step, settled in zip(found.steps, bits.rounds, strict=True):
                if min(step.confidence) >= 0.6:
                    assert settled <= threshold_budget(len(step.positions), 0.6) + 1e-9


def test_the_figures_of_a_trace_by_hand() -> None:
    steps = [Step(0, [1, 2], ["", ""], confidence=[0.5, 0.25]), Step(2, [], []), Step(2, [3], [""], confidence=[1.0])]
    bits = bits_of(steps)
    assert bits.rounds == pytest.approx([math.log(8), 0, 0])
    assert (bits.total, bits.largest, bits.least_rounds) == pytest.approx((math.log(8), math.log(8), 1.0))
    assert Bits(()).least_rounds == 0 and Bits((0.0,)).least_rounds == 0
    assert threshold_budget(3, 0.9) == pytest.approx(3 * 0.10536, abs=1e-4)


def test_a_trace_without_probabilities_is_refused() -> None:
    plain = answer(TableModel.random(4, 0), [0], "plain", max_new_tokens=3, **SETTINGS)
    with pytest.raises(InvalidRequest, match="no probabilities") as caught:
        bits_of(plain.steps)
    assert caught.value.hint
    with pytest.raises(InvalidRequest, match="unknown") as caught:
        bits_of([Step(0, [1], [""], confidence=[math.nan])])
    assert caught.value.hint
