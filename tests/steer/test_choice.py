"""The rule of choice: its value, its independence of company, and the log-probabilities."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor

from stretto.errors import InvalidRequest
from stretto.noise import gumbel_one, key
from stretto.steer import choice
from stretto.steer.allow import Allow
from stretto.steer.choice import Rule, choose, draw_all, draw_few
from stretto.steer.frequency import Frequency
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.report import log_probability, top_log_probabilities
from stretto.steer.temperature import Temperature
from stretto.steer.top_k import TopK
from stretto.steer.top_p import TopP

GREEDY = Pipeline([Temperature(0.0)])
SAMPLED = Pipeline()


def random_logits(nodes: int, vocabulary: int, seed: int = 0, spread: float = 2.0) -> Tensor:
    return spread * torch.randn(nodes, vocabulary, generator=torch.Generator().manual_seed(seed))


def test_the_choice_is_the_best_of_score_plus_noise() -> None:
    logits = random_logits(50, 300)
    history = History([1, 2, 3])
    paths = [Path(history, tuple(range(node % 4))) for node in range(50)]
    rules = [Rule(SAMPLED, seed=node // 7, stream=node % 3) for node in range(50)]
    for node, token in enumerate(choose(Nodes(paths, logits), rules).tokens):
        at = key(node // 7, node % 3, 3 + node % 4)
        noisy = [float(logits[node, other]) + gumbel_one(at, other) for other in range(300)]
        assert token == max(range(300), key=noisy.__getitem__)


def test_greedy_takes_the_best_and_the_lowest_id_among_equals() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0], [1.0, 1.0, 1.0], [0.0, 0.0, 5.0]])
    choices = choose(Nodes([Path(History([0]))] * 3, logits), [Rule(GREEDY, seed) for seed in range(3)])
    assert choices.tokens == [1, 0, 2]
    assert torch.equal(choices.steered, logits)


@pytest.mark.parametrize("spread", [0.0, 2.0, 30.0, 300.0, 3000.0])
@pytest.mark.parametrize("cached", [choice.CACHED, 100])
def test_noise_for_the_able_only_chooses_as_noise_for_all(
    spread: float, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "CACHED", cached)
    steered = random_logits(40, 500, spread=spread)
    steered[10:20, ::3] = -torch.inf
    steered[20:30, 7:] = -torch.inf
    keys = torch.tensor([key(3, 0, position) for position in range(40)])
    expected = draw_all(steered, keys)
    assert torch.equal(draw_few(steered, keys), expected)
    assert torch.equal(draw_few(steered.double(), keys), draw_all(steered.double(), keys))
    assert torch.equal(draw_few(steered.T.contiguous().T, keys), expected)  # in another memory layout
    assert [int(draw_few(steered[n : n + 1], keys[n : n + 1])) for n in range(40)] == expected.tolist()


def test_company_changes_nothing() -> None:
    """Rows under several pipelines, shuffled, in parts and alone: the same tokens and log-weights."""
    logits = random_logits(60, 200)
    pipelines = [GREEDY, SAMPLED, Pipeline([Temperature(0.8), TopK(20), TopP(0.9)]), Pipeline([Frequency(0.5)])]
    histories = [History([5, 6, 7]) for _ in range(6)]
    for row, history in enumerate(histories):
        history.extend([row, 3, row])
    paths = [Path(histories[node % 6], tuple(range(node % 5))) for node in range(60)]
    rules = [Rule(pipelines[node % 4], seed=9, stream=node % 6) for node in range(60)]
    together = choose(Nodes(paths, logits), rules)
    order = list(range(60))
    random.Random(1).shuffle(order)
    for part in (order, order[:31], order[31:], *([node] for node in range(60))):
        chosen = choose(Nodes([paths[n] for n in part], logits[part]), [rules[n] for n in part])
        assert chosen.tokens == [together.tokens[n] for n in part]
        assert torch.equal(chosen.steered, together.steered[part])


def test_equal_pipelines_of_different_requests_go_together() -> None:
    logits = random_logits(2, 50)
    rules = [Rule(Pipeline([TopK(5)]), 1), Rule(Pipeline([TopK(5)]), 1)]
    twice = choose(Nodes([Path(History([1]))] * 2, logits[:1].expand(2, -1)), rules)
    assert twice.tokens[0] == twice.tokens[1]


def test_no_nodes_no_choices() -> None:
    assert choose(Nodes([], torch.zeros(0, 5)), []).tokens == []


def test_half_precision_logits() -> None:
    logits = random_logits(4, 50).half()
    rules = [Rule(GREEDY), Rule(SAMPLED), Rule(Pipeline([Allow([3])])), Rule(Pipeline([Allow([3]), Temperature(0)]))]
    paths = [Path(History([1]))] * 4
    mixed = choose(Nodes(paths, logits), rules)
    assert mixed.tokens[0] == int(logits[0].argmax())
    assert mixed.tokens[2:] == [3, 3]
    assert mixed.tokens == [choose(Nodes(paths[:1], logits[n : n + 1]), rules[n : n + 1]).tokens[0] for n in range(4)]


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 1 << 64}, {"stream": -1}])
def test_seeds_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest):
        Rule(SAMPLED, **wrong)


def test_log_probabilities_of_the_raw_and_of_the_steered_distribution() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    steered = Pipeline([Temperature(0.5), TopK(2)])(Nodes([Path(History([]))], logits))
    assert log_probability(logits, [1]) == pytest.approx([math.log(0.3)])
    assert log_probability(steered, [1]) == pytest.approx([math.log(0.09 / 0.34)])
    assert log_probability(steered, [2]) == [-math.inf]
    (top,) = top_log_probabilities(steered, 3)
    assert [token for token, _ in top] == [0, 1]
    assert [value for _, value in top] == pytest.approx([math.log(0.25 / 0.34), math.log(0.09 / 0.34)])
    assert [token for token, _ in top_log_probabilities(torch.zeros(1, 6), 2)[0]] == [0, 1]
    assert top_log_probabilities(logits, 0) == [[]]
    assert [token for token, _ in top_log_probabilities(logits, 99)[0]] == [0, 1, 2]
