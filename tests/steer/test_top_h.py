"""Top-H and top-n-sigma against their definitions in plain Python, and top-H against transformers' own."""

from __future__ import annotations

import math

import pytest
import torch

from steer.slow import NONE, by_likelihood, only, softmax
from stretto.errors import InvalidRequest
from stretto.steer.nodes import Nodes
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.steer.top_h import TopH
from stretto.steer.top_k import TopK
from stretto.steer.top_n_sigma import TopNSigma

WIDE = 2 * torch.randn(12, 150, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
WIDE[3, 40:] = -torch.inf
WIDE[4] = WIDE[4].round()  # equals, at the end of the list as well
WIDE[5] = torch.linspace(0, 0.01, 150)


def top_h(row: list[float], share: float, among: int) -> list[float]:
    order = by_likelihood(row)[: among or None]
    p = softmax([row[token] for token in order])
    terms = [-value * math.log(value) if value else 0.0 for value in p]
    return only(row, {token for at, token in enumerate(order) if sum(terms[: at + 1]) <= share * sum(terms)})


@pytest.mark.parametrize(("share", "among"), [(0.2, 100), (0.7, 100), (0.95, 0), (0.4, 5), (0.01, 0)])
def test_top_h(share, among):
    steered = TopH(share, among)(WIDE, Nodes((), WIDE)).tolist()
    assert steered == [top_h(row, share, among) for row in WIDE.tolist()]


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_top_h_is_that_of_transformers(share):
    from transformers import TopHLogitsWarper

    rows = WIDE[[at for at in range(12) if at != 4]]  # which of equals it takes is chance there
    theirs = TopHLogitsWarper(share)(torch.zeros(len(rows), 1, dtype=torch.long), rows.clone())
    assert torch.equal(TopH(share)(rows, Nodes((), rows)), theirs)


def test_a_whole_share_keeps_all_that_is_looked_at():
    steered = TopH(1.0)(WIDE, Nodes((), WIDE))
    assert (steered > NONE).sum(-1).tolist() == [40 if row == 3 else 100 for row in range(12)]
    assert torch.equal(TopH(1.0, 0)(WIDE, Nodes((), WIDE)), WIDE)


def sigma(row: list[float], n: float) -> list[float]:
    alive = [value for value in row if value > NONE]
    mean = sum(alive) / len(alive)
    floor = max(alive) - n * math.sqrt(sum((value - mean) ** 2 for value in alive) / len(alive))
    return only(row, {token for token, value in enumerate(row) if value >= floor})


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
def test_top_n_sigma(n, temperature):
    """Of removed tokens nothing counts; and the temperature changes nothing."""
    kept = Pipeline([TopNSigma(n), Temperature(temperature)])(Nodes((), WIDE)) > NONE
    assert kept.tolist() == [[value > NONE for value in sigma(row, n)] for row in WIDE.tolist()]


def test_the_deviation_is_that_of_all_tokens_before_any_other_truncation():
    """Whichever is given first, as in llama.cpp."""
    for steps in ([TopNSigma(1.0), TopK(3)], [TopK(3), TopNSigma(1.0)]):
        steered = Pipeline(steps)(Nodes((), WIDE))
        for row, found in zip(WIDE.tolist(), steered.tolist(), strict=True):
            left = sigma(row, 1.0)
            assert found == only(left, set(by_likelihood(left)[:3]))


def test_out_of_range():
    for make in (lambda: TopH(0.0), lambda: TopH(1.1), lambda: TopH(0.5, -1), lambda: TopNSigma(-1.0)):
        with pytest.raises(InvalidRequest):
            make()
