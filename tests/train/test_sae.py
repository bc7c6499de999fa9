"""Sparse autoencoders: directions that were planted are found, rows are rebuilt, and features ranked by repetition."""

from __future__ import annotations

import pytest
import torch

from laws.worlds import LastTwo
from stretto import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.laws.inside import engine
from stretto.steer.features import Induce, Mitigate
from stretto.train import sae as training

TEXTS = [[(at * 7 + k * k) % 90 for k in range(20)] for at in range(3, 23)]


def test_rows_are_rebuilt_of_few_features():
    made = engine("fast")
    rows = training.rows_of(made, TEXTS, 2)
    assert rows.shape == (400, 32)
    used, left = [], []
    for sparsity in (0.1, 1.0):
        sae = training.train_sae(made, TEXTS, layer=2, steps=400, sparsity=sparsity)
        active = ((rows - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]).relu()
        missed = (active @ sae["W_dec"] + sae["b_dec"] - rows).square().sum()
        left.append(float(missed / (rows - rows.mean(0)).square().sum()))
        used.append(float((active > 0).float().mean()))
    assert left[0] < left[1] < 0.2 and used[1] < used[0] / 1.5
    torch.testing.assert_close(sae["W_dec"].norm(dim=1), torch.ones(128))
    assert sae == training.train_sae(made, TEXTS, layer=2, steps=400, sparsity=1.0)


def test_planted_directions_are_found(monkeypatch):
    """Rows that are sums of one or two of eight directions."""
    generator = torch.Generator().manual_seed(0)
    planted = torch.nn.functional.normalize(torch.randn(8, 24, generator=generator), dim=1)
    amounts = torch.rand(3000, 8, generator=generator) * (torch.rand(3000, 8, generator=generator) < 0.15)
    monkeypatch.setattr(training, "rows_of", lambda *_: 3 * amounts @ planted)
    sae = training.train_sae(engine("fast"), [], layer=1, features=16, steps=1500, rate=5e-3)
    nearest = (planted @ sae["W_dec"].T).amax(1)
    assert (nearest > 0.9).all()


def test_features_are_ranked_by_what_they_make_repeat():
    """Of five random ones of this network; the first induced repeats more than the last, and turned off changes it."""
    made = engine("fast")
    sae = training.train_sae(made, TEXTS, layer=2, steps=50)
    found = training.repeat_features(made, sae, TEXTS[:2], layer=2, strength=30.0, features=range(5), tokens=24)
    shares = [share for _, share in found]
    assert sorted(feature for feature, _ in found) == [0, 1, 2, 3, 4] and shares == sorted(shares, reverse=True)
    again = training.repeat_features(made, sae, TEXTS[:2], layer=2, strength=30.0, features=[found[0][0]], tokens=24)
    assert again == found[:1]
    settings = {"max_new_tokens": 24, "end_tokens": ()}
    first = (found[0][0],)
    answers = [
        made.generate(TEXTS[0], "plain", steers=steers, **settings).tokens
        for steers in ([], [Induce(sae, 2, first, 30.0)], [Mitigate(sae, 2, tuple(range(128)))])
    ]
    assert len({tuple(tokens) for tokens in answers}) == 3


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: training.train_sae(engine("fast"), [], layer=1), InvalidRequest, "nothing to read"),
        (lambda: training.train_sae(engine("fast"), TEXTS, layer=4), InvalidRequest, "no layer 4"),
        (lambda: training.train_sae(Engine(LastTwo(5, 1)), [[1]], layer=0), Unsupported, "shows no rows"),
    ],
)
def test_mistakes_are_named(call, error, says):
    with pytest.raises(error, match=says):
        call()
