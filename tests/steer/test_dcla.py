"""DCLA by hand, and a layer of noise that is drawn back."""

from __future__ import annotations

import math

import pytest
import torch

from stretto.errors import InvalidRequest
from stretto.models.edits import changes
from stretto.steer.dcla import Dcla

LAYERS = [[1.0, 0.0, 0.5], [0.5, 1.0, -0.5], [-1.0, 2.0, 1.0]]


def cosine(one, two):
    return sum(a * b for a, b in zip(one, two, strict=True)) / math.hypot(*one) / math.hypot(*two)


def through(steer: Dcla, layers: list) -> list[torch.Tensor]:
    """What leaves each layer, where these rows [N, C] come to it."""
    of = changes([steer.edits])
    return [of[at](torch.tensor(rows)[None])[0] if at in of else torch.tensor(rows) for at, rows in enumerate(layers)]


@pytest.mark.parametrize("weights", ["recency", "cosine"])
def test_a_row_by_hand(weights):
    first, second, third = LAYERS
    scores = [-2.0, -1.0] if weights == "recency" else [cosine(first, third), cosine(second, third)]
    whole = sum(map(math.exp, scores))
    mean = [
        sum(math.exp(s) / whole * each[c] for s, each in zip(scores, (first, second), strict=True)) for c in range(3)
    ]
    scale = math.hypot(*third) / math.hypot(*mean)
    expected = [0.7 * h + 0.3 * scale * r for h, r in zip(third, mean, strict=True)]
    found = through(Dcla(0.3, 2, 2, 0.0, weights), [[row] for row in LAYERS])
    assert found[2][0].tolist() == pytest.approx(expected)
    assert [each[0].tolist() for each in found[:2]] == [pytest.approx(row) for row in LAYERS[:2]]


def test_a_later_layer_sees_what_was_mixed():
    both = through(Dcla(0.5, 1, 2, 0.0), [[row] for row in LAYERS])
    mixed = both[1][0].tolist()
    assert mixed != pytest.approx(LAYERS[1])
    again = through(Dcla(0.5, 2, 2, 0.0), [[LAYERS[0]], [mixed], [LAYERS[2]]])
    torch.testing.assert_close(both[2], again[2])


def test_rows_that_do_not_stray_stay():
    """One of two rows of a layer is the row before it, turned a little: 1 - cosine is 0.0077 and 1.1."""
    layers = [[[1.0, 0.0], [1.0, 0.0]], [[2.0, 0.25], [-0.2, 2.0]]]
    found = through(Dcla(0.5, 1, 1, 0.05), layers)
    assert found[1][0].tolist() == layers[1][0] and found[1][1].tolist() != layers[1][1]
    assert torch.equal(through(Dcla(0.5, 1, 1, 2.0), layers)[1], torch.tensor(layers[1]))


def test_noise_in_the_place_of_a_layer_is_drawn_back_to_it():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(8, 64, generator=generator)
    layers = [(clean + 0.3 * torch.randn(8, 64, generator=generator)).tolist() for _ in range(4)]
    noise = torch.randn(8, 64, generator=generator)
    near = [torch.cosine_similarity(through(Dcla(by, 4, 4), [*layers, noise.tolist()])[4], clean) for by in (0.01, 0.3)]
    assert (near[1] > near[0] + 0.2).all()


def test_out_of_range():
    for make in (lambda: Dcla(1.5), lambda: Dcla(strays=2.5), lambda: Dcla(first=0), lambda: Dcla(first=3, last=2)):
        with pytest.raises(InvalidRequest):
            make()
