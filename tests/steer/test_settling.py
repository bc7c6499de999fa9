"""The temperature that ends: against its definition, step by step, whoever drafts."""

from __future__ import annotations

import pytest
import torch

from laws.worlds import adversaries, decode
from steer.slow import softmax
from stretto.errors import InvalidRequest
from stretto.models.table import TableModel
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.settling import Settling
from stretto.steer.temperature import Temperature

MODEL = TableModel.random(5, seed=4, order=1)


def settled_at(prompt: list[int], tokens: list[int], confidence: float) -> int | None:
    """The first step from which on the answer is greedy."""
    sure = []
    for at in range(len(tokens)):
        sure.append(max(softmax(list(MODEL.rule((*prompt, *tokens[:at]))))))
        if sum(sure) / len(sure) > confidence:
            return at
    return None


def test_from_the_step_that_is_sure_enough_on_the_best_token_alone_is_left():
    pipeline = Pipeline([Temperature(1.5), Settling(0.65)])
    prompts, found = [[0, 1, 0], [2], [3, 3, 1], [4, 0]], []
    for seed in range(4):
        plain = [row.new_tokens for row in decode(MODEL, prompts, pipeline=pipeline, seed=seed, new_tokens=14)]
        free = [
            row.new_tokens
            for row in decode(MODEL, prompts, pipeline=Pipeline([Temperature(1.5)]), seed=seed, new_tokens=14)
        ]
        for prompt, tokens, sampled in zip(prompts, plain, free, strict=True):
            at = settled_at(prompt, tokens, 0.65)
            found.append(at)
            assert tokens[: 14 if at is None else at] == sampled[: 14 if at is None else at]
            for later in range(14 if at is None else at, 14):
                row = MODEL.rule((*prompt, *tokens[:later]))
                assert tokens[later] == max(range(5), key=lambda token, row=row: row[token])
        for name, drafter in adversaries(5).items():
            rows = decode(MODEL, prompts, drafter=drafter, pipeline=pipeline, seed=seed, new_tokens=14)
            assert [row.new_tokens for row in rows] == plain, name
    assert None in found and len({at for at in found if at}) > 1


def test_it_never_comes_back():
    """Sure once: then the mean may fall."""
    step, history = Settling(0.8), History([0])
    for row, left in [([5.0, 0, 0, 0, 0], 1), ([0.0] * 5, 1), ([0.1, 0, 0, 0, 0], 1)]:
        logits = torch.tensor([row])
        assert int((step(logits, Nodes([Path(history)], logits)) > -torch.inf).sum()) == left
        history.extend([0])
    fresh, logits = History([0]), torch.zeros(1, 5)
    assert torch.equal(step(logits, Nodes([Path(fresh)], logits)), logits)


def test_out_of_range():
    with pytest.raises(InvalidRequest):
        Settling(1.5)
