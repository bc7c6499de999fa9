"""Steers of one file each, against their definitions in plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from steer.slow import entropy, only, softmax
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.steer.budget import Budget
from stretto.steer.edt import EntropyTemperature
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.top_a import TopA

LOGITS = 2 * torch.randn(9, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_top_a(share):
    steered = TopA(share)(LOGITS, Nodes((), LOGITS))
    for row, found in zip(LOGITS.tolist(), steered.tolist(), strict=True):
        p = softmax(row)
        assert found == only(row, {token for token in range(6) if p[token] >= share * max(p) ** 2})


@pytest.mark.parametrize(("theta", "base"), [(0.5, 0.8), (2.0, 0.3)])
def test_edt(theta, base):
    """Of the raw entropy, whatever came between; and as cold as may be where nothing is open."""
    steered = EntropyTemperature(theta, base)(LOGITS * 3, Nodes((), LOGITS))
    for row, found in zip(LOGITS.tolist(), steered.tolist(), strict=True):
        temperature = base ** (theta / entropy(softmax(row)))
        assert found == pytest.approx([3 * value / temperature for value in row])
    certain = torch.tensor([[0.0, -math.inf]])
    assert EntropyTemperature()(certain, Nodes((), certain)).tolist() == [[0.0, -math.inf]]


def test_a_budget_closes_what_was_opened():
    steer = Budget(2, 3, 2)
    for prompt, tail, closed in [
        ([0], [], False),
        ([0], [2], False),
        ([0], [2, 1], False),
        ([0], [2, 1, 2], True),  # an opening token within a span is one of its tokens
        ([0, 2, 0], [1], True),  # opened by the prompt
        ([2, 0, 0, 3], [], False),
        ([2, 0, 0, 3], [2, 0], False),
        ([2, 0, 0, 3], [2, 0, 0, 0], True),
    ]:
        steered = steer(LOGITS[:1], Nodes([Path(History(prompt), tuple(tail))], LOGITS[:1]))[0]
        assert steered.isfinite().nonzero().flatten().tolist() == ([3] if closed else list(range(6))), (prompt, tail)
        assert steered[3] == LOGITS[0, 3]


def test_a_budget_holds_in_an_answer_whoever_drafts():
    model = TableModel(5, lambda path: [1.0, 0.5, 2.0 if 2 not in path else 0.0, -3.0, 0.7])
    engine = Engine(model, clock=SimulatedClock())
    answers = [
        engine.generate([0], f"{way}+budget(2,3,4)", max_new_tokens=20) for way in ("plain", "lookup", "recycle")
    ]
    tokens = answers[0].tokens
    assert tokens[0] == 2 and tokens.index(3) == 5
    assert all(answer.tokens == tokens for answer in answers)
    assert answers[1].method == "lookup+budget(opening=2,closing=3,most=4)"


@pytest.mark.parametrize(
    "make",
    [
        lambda: TopA(1.5),
        lambda: EntropyTemperature(-1),
        lambda: EntropyTemperature(1, 0),
        lambda: Budget(0, 1, -1),
        lambda: Budget(-1, 1),
    ],
)
def test_out_of_range(make):
    with pytest.raises(InvalidRequest):
        make()
