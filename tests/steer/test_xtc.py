"""XTC against its definition, and its coins: of the seed, the sample and the position, and of nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from steer.slow import softmax
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.steer.choice import Rule
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.xtc import Xtc

LOGITS = 2 * torch.randn(200, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def steered(steer: Xtc, logits: torch.Tensor, seed: int = 0) -> list[list[float]]:
    paths = [Path(History([0] * length)) for length in range(1, len(logits) + 1)]
    return steer(logits, Nodes(paths, logits, rules=[Rule(Pipeline(), seed)] * len(logits))).tolist()


def slow(row: list[float], threshold: float) -> list[float]:
    """The definition, where the coin says so."""
    p = softmax(row)
    above = sorted((token for token in range(len(row)) if p[token] >= threshold), key=lambda token: -p[token])
    return [-math.inf if token in above[:-1] else value for token, value in enumerate(row)]


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.2, 0.5])
def test_what_is_left(threshold: float) -> None:
    for row, found in zip(LOGITS.tolist(), steered(Xtc(1.0, threshold), LOGITS), strict=True):
        assert found == slow(row, threshold)


def test_coins() -> None:
    """Fair, of each position anew, of each seed anew, and the same when they are asked again in another order."""
    steer = Xtc(0.3, 0.02)
    found = [steered(steer, LOGITS, seed) for seed in range(20)]
    struck = torch.tensor([[line != row for line, row in zip(each, LOGITS.tolist(), strict=True)] for each in found])
    assert abs(struck.double().mean() - 0.3) < 0.02  # of 4000 tosses: 2.7 standard deviations
    assert len({tuple(each) for each in struck.tolist()}) == 20
    path = Path(History([0] * 7))
    logits = LOGITS[6:7]
    assert steer(logits, Nodes([path], logits, rules=[Rule(Pipeline(), 11)])).tolist()[0] == found[11][6]


def test_of_equals_the_last_stays() -> None:
    assert steered(Xtc(1.0, 0.2), torch.zeros(1, 3))[0] == [-math.inf, -math.inf, 0.0]


def test_sampled_texts_are_distributed_as_the_definition_says() -> None:
    """Of two tokens, by enumeration of the coins at each."""
    model = TableModel(3, lambda path: [0.0, 1.0, -3.0] if path[-1] == 0 else [1.0, 0.0, 0.5])
    engine = Engine(model, clock=SimulatedClock())
    answers = engine.generate([0], "lookup+xtc(0.4,0.1)", temperature=1.0, seed=3, samples=2000, max_new_tokens=2)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for first in range(3):
        for second in range(3):
            mass = 1.0
            for before, token in ((0, first), (first, second)):
                row = model.rule((before,))
                mass *= 0.4 * softmax(slow(row, 0.1))[token] + 0.6 * softmax(row)[token]
            expected[first, second] = mass
    counts = torch.zeros(3, 3, dtype=torch.float64)
    for answer in answers:
        counts[answer.tokens[0], answer.tokens[1]] += 1
    statistic = ((counts - 2000 * expected) ** 2 / (2000 * expected)).sum()
    assert statistic < 26.1  # eight degrees of freedom: exceeded once in a thousand times


def test_out_of_range() -> None:
    for make in (lambda: Xtc(1.5), lambda: Xtc(0.5, -0.1)):
        with pytest.raises(InvalidRequest):
            make()
