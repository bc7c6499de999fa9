"""Clinical contrastive decoding: the worked numbers, and what it makes of a classifier's labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.steer.clinical import Clinical
from stretto.steer.nodes import Nodes
from stretto.steer.taps import Taps

P, GUIDED = (torch.tensor([odds], dtype=torch.float64).log() for odds in ((0.5, 0.3, 0.2), (0.2, 0.2, 0.6)))


def steered(step: Clinical, own: Tensor = P) -> Tensor:
    return step(own, Nodes((), own, Taps(companions=dict.fromkeys(step.companions, GUIDED))))


def test_the_published_gains() -> None:
    found = Clinical((1, 2, 3, 4, 5), (0.9, 0.95, 0.2, 1.0, 0.0)).gains
    assert [round(found[at], 4) for at in range(1, 6)] == [2.1972, 2.3026, -1.3863, 2.3026, -2.3026]
    assert Clinical((1, 1, 1), (0.3, 0.9, 0.6)).gains[1] == pytest.approx(math.log(9))


def test_it_blends_log_probabilities_and_lets_words_gain() -> None:
    blended = 0.25 * P + 0.75 * GUIDED
    assert torch.allclose(steered(Clinical(alpha=0.75, guide="of it")), blended)
    words = torch.tensor([0.0, 2 * math.log(9), -2 * math.log(4)], dtype=torch.float64)
    assert torch.allclose(steered(Clinical((1, 2), (0.9, 0.2), 0.75, 2.0, "of it")), blended + words)
    assert torch.allclose(steered(Clinical((1, 2), (0.9, 0.2), beta=2.0)), P + words)  # without a guide


def test_what_is_removed_stays_so_whatever_a_label_says() -> None:
    own = torch.tensor([[0.0, -math.inf, 1.0]], dtype=torch.float64)
    assert steered(Clinical((1,), (1.0,), beta=100.0, guide="of it"), own)[0, 1] == -math.inf


def test_a_classifiers_scores_make_guide_and_words() -> None:
    words = ["Edema", "edema", " Edema", " edema", "Clear", "clear", " Clear", " clear"]
    made = Clinical.of({"Edema": 0.8, "Clear": 0.3}, lambda text: [words.index(text), 99])
    assert made.guide == "Findings: Edema.\n"
    assert (made.labels, made.odds) == (tuple(range(8)), (0.8,) * 4 + (0.3,) * 4)
    assert Clinical.of({"Clear": 0.3}, lambda text: [1]).companions == ()


def test_the_guided_reading_is_that_of_the_guide_and_the_prompt() -> None:
    """At alpha 1 the answer is what follows the guide and the prompt; drafts change nothing."""
    engine = Engine(TableModel.random(6, seed=3, order=20), clock=SimulatedClock())
    settings = {"max_new_tokens": 10, "end_tokens": ()}
    alone = engine.generate([2, 4, 0, 1], "plain", **settings).tokens
    for method in ("plain", "lookup"):
        assert engine.generate([0, 1], method, steers=[Clinical(alpha=1.0, guide=(2, 4))], **settings).tokens == alone
    assert engine.generate([0, 1], "plain", **settings).tokens != alone


def test_what_is_no_label_is_refused() -> None:
    for labels, odds in (((1,), (1.5,)), ((-1,), (0.5,)), ((1, 2), (0.5,))):
        with pytest.raises(InvalidRequest, match=r"the token|2 labels"):
            Clinical(labels, odds)
    with pytest.raises(InvalidRequest, match="outside of the vocabulary"):
        Engine(TableModel.random(6, seed=3)).generate([1], "plain", steers=[Clinical((9,), (0.7,))], max_new_tokens=1)
