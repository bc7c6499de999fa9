"""Controlled decoding, token by token: what it draws, by hand and by enumeration."""

from __future__ import annotations

import pytest
import torch

from stretto.errors import InvalidRequest, Unsupported
from stretto.laws.inside import engine
from stretto.models.head import Head
from stretto.steer.controlled import Controlled
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.taps import Taps

LOGITS = torch.tensor([[0.6, 0.3, 0.1]]).log()


def steered(steer: Controlled, logits: torch.Tensor = LOGITS) -> list[float]:
    nodes = Nodes([Path(History([0]))], logits, Taps(hidden={1: torch.ones(1, 2)}))
    return [round(each, 4) for each in steer(logits, nodes)[0].softmax(-1).tolist()]


def head(*values: float) -> Head:
    """One that says the same everywhere."""
    return Head({"layers": [1], "enter": [[0, 0]], "bias": [1], "leave": [[0]] * len(values), "level": values})


def test_by_hand() -> None:
    assert steered(Controlled(head(0, 1, 2), 1.0)) == [0.2785, 0.3785, 0.3430]
    assert steered(Controlled(head(5, 6, 7), 1.0)) == [0.2785, 0.3785, 0.3430], "what is said of all changes nothing"
    assert steered(Controlled(head(0, 1, 2), 0.0)) == [0.6, 0.3, 0.1]
    assert steered(Controlled(head(0, 1, 2), 1.0, most=2)) == [0.4239, 0.5761, 0.0]


def test_soft_values_give_the_optimum_under_a_divergence_and_plain_expectations_do_not() -> None:
    """Of p(y) · exp(beta r(y)) over answers of two tokens: what V must be is log E exp(beta r) / beta, not E r."""
    first, second, beta = torch.tensor([0.6, 0.4]), torch.tensor([[0.9, 0.1], [0.5, 0.5]]), 3.0
    reward = torch.tensor([[0.0, 1.0], [0.2, 0.3]])
    joint = first[:, None] * second * (beta * reward).exp()
    wanted = (joint / joint.sum()).sum(1)
    soft = (second * (beta * reward).exp()).sum(1).log() / beta
    plain = (second * reward).sum(1)
    found = [torch.tensor(steered(Controlled(head(*each.tolist()), beta), first.log()[None])) for each in (soft, plain)]
    assert torch.allclose(found[0], wanted, atol=1e-4) and float((found[1] - wanted).abs().max()) > 0.02


def test_a_head_of_other_sizes_is_refused() -> None:
    served = engine("fast")
    with pytest.raises(InvalidRequest, match="names token 199"):
        served.generate([5], steers=[Controlled(Head.random(1, 200, 32))], max_new_tokens=2)
    for wrong in (Head.random(1, 97, 16), Head.random(1, 5, 32)):
        answer = None
        with pytest.raises(Unsupported, match="channels"):
            answer = served.generate([5], steers=[Controlled(wrong)], max_new_tokens=2)
        assert answer is None
    with pytest.raises(InvalidRequest, match="beta"):
        Controlled("random:1", 2000.0)
