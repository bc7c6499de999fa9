"""Control vectors of two lists of prompts."""

from __future__ import annotations

import pytest
import torch

import stretto
from laws.worlds import LastTwo
from stretto import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.laws.inside import engine
from stretto.models.contract import Want
from stretto.models.window import Window
from stretto.steer.vector import Vector

POSITIVE, NEGATIVE = [[5, 9, 11], [5, 9], [7, 8, 8, 2]], [[5, 9, 12], [5, 10], [7, 8, 8, 3]]


def last_row(tokens: list[int], layer: int) -> torch.Tensor:
    model = engine("fast").model
    cache = model.new_cache()
    window = Window.chain([cache.open()], [tokens], [0], model.device)
    return model.evaluate(window, cache, Want(hidden=(layer,))).hidden[layer][0, -1].double()


@pytest.mark.parametrize("layer", [0, 2])
def test_the_difference_of_means(layer):
    vector = stretto.control_vector(engine("fast"), POSITIVE, NEGATIVE[:2], layers=layer)
    away = sum(last_row(tokens, layer) for tokens in NEGATIVE[:2]) / 2
    expected = sum(last_row(tokens, layer) for tokens in POSITIVE) / 3 - away
    torch.testing.assert_close(vector.directions[layer].double(), expected, atol=1e-5, rtol=1e-4)
    assert list(vector.directions) == [layer] and vector.channels == 32


def test_the_first_component_of_pairs_by_power_iteration():
    vector = stretto.control_vector(engine("fast"), POSITIVE, NEGATIVE, how="component")
    assert list(vector.directions) == [1, 2, 3]
    pairs = list(zip(POSITIVE, NEGATIVE, strict=True))
    differences = torch.stack([last_row(one, 2) - last_row(two, 2) for one, two in pairs])
    found = differences.sum(0)
    for _ in range(500):
        found = differences.T @ (differences @ found)
        found = found / found.norm()
    found = found if float((differences @ found).mean()) > 0 else -found
    torch.testing.assert_close(vector.directions[2].double(), found, atol=1e-4, rtol=1e-3)
    turned = stretto.control_vector(engine("fast"), NEGATIVE, POSITIVE, how="component")
    torch.testing.assert_close(turned.directions[2], -vector.directions[2], atol=1e-5, rtol=1e-4)


def test_it_leads_where_it_should():
    """At the last layer the difference of two prompts makes of the second what follows the first, half of it a part of
    the way, and the other way round what is further off."""
    made = engine("fast")
    vector = stretto.control_vector(made, [[17, 60]], [[17, 61]], layers=3)

    def after(token: int, strength: float) -> torch.Tensor:
        settings = {"edits": [Vector(vector, strength)], "log_probabilities": 97, "end_tokens": ()}
        (entry,) = made.generate([17, token], "plain", max_new_tokens=1, **settings).log_probabilities
        return torch.tensor([value for _, value in sorted(entry.top_raw)])

    aim = after(60, 0.0)
    torch.testing.assert_close(after(61, 1.0), aim, atol=1e-3, rtol=1e-3)
    away, usual, half = (float((aim.exp() * (aim - after(61, strength))).sum()) for strength in (-0.5, 0.0, 0.5))
    assert half < usual < away


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: stretto.control_vector(engine("fast"), [], NEGATIVE), InvalidRequest, "nothing to compare"),
        (lambda: stretto.control_vector(engine("fast"), [[1]], [[2]], layers=4), InvalidRequest, "no layer 4"),
        (lambda: stretto.control_vector(engine("fast"), [[1]], [[2]], layers=[]), InvalidRequest, "nothing to compare"),
        (lambda: stretto.control_vector(engine("fast"), [[1]], [[999]]), InvalidRequest, "outside of the vocabulary"),
        (lambda: stretto.control_vector(engine("fast"), [[1]], [[2]], how="x"), InvalidRequest, "how is 'x'"),
        (
            lambda: stretto.control_vector(engine("fast"), [[1], [2]], [[2]], how="component"),
            InvalidRequest,
            "make no pairs",
        ),
        (lambda: stretto.control_vector(Engine(LastTwo(5, 1)), [[1]], [[2]]), Unsupported, "shows no rows"),
    ],
)
def test_mistakes_are_named(call, error, says):
    with pytest.raises(error, match=says):
        call()
