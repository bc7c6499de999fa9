"""Steers that hear another reading, against their definitions in plain Python, by hand and in answers."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from steer.slow import entropy, softmax
from stretto.engine import Engine
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.steer.contract import Steer
from stretto.steer.kl_temperature import KlTemperature
from stretto.steer.nodes import Nodes
from stretto.steer.proxy import Proxy
from stretto.steer.safe_infer import SafeInfer
from stretto.steer.taps import Taps
from stretto.steer.uscd import Uscd

V = 6
OWN, OTHER, THIRD = 2 * torch.randn(3, 30, V, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
OTHER[0] = OWN[0] + 3  # the same distribution
NONE = -math.inf


def steered(step: Steer, own: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    heard = dict(zip(dict.fromkeys(step.companions), others, strict=True))
    return step(own, Nodes((), own, Taps(companions=heard)))


def logs(*p: float) -> torch.Tensor:
    return torch.tensor([p], dtype=torch.float64).log()


def same(found: torch.Tensor, expected: list[list[float]]) -> None:
    for row, line in zip(found.softmax(-1).tolist(), expected, strict=True):
        assert row == pytest.approx(softmax(line), abs=1e-12)


# -- the KL-guided temperature


def test_kl_temperature_by_hand():
    p, q = logs(0.7, 0.2, 0.1), logs(0.4, 0.4, 0.2)
    for half, temperature in ((1.0, 0.8804), (0.5, 0.7751)):
        found = steered(KlTemperature(half), p, q)
        assert float(p[0, 0] / found[0, 0]) == pytest.approx(temperature, abs=1e-4)
    assert steered(KlTemperature(), p, q).softmax(-1)[0].tolist() == pytest.approx([0.7404, 0.1784, 0.0812], abs=1e-4)
    assert float(KlTemperature().apart(Nodes((), p, Taps(companions={KlTemperature().companions[0]: q})))) == (
        pytest.approx(0.1838, abs=1e-4)
    )


@pytest.mark.parametrize("step", [KlTemperature(0.3, start=1.4), KlTemperature(0.05, (2, 1), 0.8, 0.2)], ids=repr)
def test_kl_temperature(step):
    """Of the model's own distribution, whatever came between; and no colder than is allowed."""
    nodes = Nodes((), OWN, Taps(companions={step.companions[0]: OTHER}))
    for row, own, other in zip(step(2 * OWN, nodes).tolist(), OWN.tolist(), OTHER.tolist(), strict=True):
        p, q = ([max(value, 1e-7) for value in softmax(each)] for each in (own, other))
        apart = max(0.0, sum(x * math.log(x / y) for x, y in zip(p, q, strict=True)))
        temperature = max(step.start * math.exp(-math.log(2) * apart / step.half), step.lowest)
        assert row == pytest.approx([2 * value / temperature for value in own])


def test_what_has_no_probability_in_one_reading_is_far_and_finite():
    found = steered(KlTemperature(), logs(0.5, 0.5, 0.0), logs(1.0, 0.0, 0.0))
    assert not found.isnan().any() and found[0, 2] == NONE and found[0, :2].isfinite().all()


# -- USCD


def uncertain(step: Uscd, p: list[float]) -> bool:
    if step.measure == "entropy":
        return entropy(p) >= step.limit
    if step.measure == "doubt":
        return 1 - max(p) >= step.limit
    best = sorted(p)[-step.among :]
    mean = sum(best) / len(best)
    return math.sqrt(sum((value - mean) ** 2 for value in best) / len(best)) <= step.limit


@pytest.mark.parametrize(
    "step",
    [
        Uscd(limit=0.2),
        Uscd((1, 4), 2.0, 0.2, 0.3, among=3),
        Uscd(limit=1.1, measure="entropy", share=0.0),
        Uscd(limit=0.4, measure="doubt"),
    ],
    ids=repr,
)
def test_uscd(step):
    """Where the model is certain the logits are as they were, in every bit."""
    found, seen = steered(step, OWN, OTHER), set()
    for row, own, other in zip(found, OWN, OTHER, strict=True):
        p, q = softmax(own.tolist()), softmax(other.tolist())
        seen.add(open_ := uncertain(step, p))
        if not open_:
            assert torch.equal(row, own)
            continue
        line = [(1 + step.by) * math.log(x) - step.by * math.log(y) for x, y in zip(p, q, strict=True)]
        same(row[None], [[value if x >= step.share * max(p) else NONE for value, x in zip(line, p, strict=True)]])
    assert seen == {True, False}


def test_a_lame_prompt_that_is_the_prompt_changes_no_plausible_token():
    found = steered(Uscd(limit=10.0, share=0.0), OWN, OWN)
    same(found, OWN.tolist())


# -- proxy tuning


@pytest.mark.parametrize("by", [0.5, 1.0, 3.0])
def test_proxy_is_the_product_of_experts(by):
    found = steered(Proxy("tuned", "untuned", by), OWN, OTHER, THIRD)
    expected = []
    for own, tuned, untuned in zip(OWN.tolist(), OTHER.tolist(), THIRD.tolist(), strict=True):
        p, q, r = map(softmax, (own, tuned, untuned))
        expected.append([math.log(x * (y / z) ** by) for x, y, z in zip(p, q, r, strict=True)])
    same(found, expected)
    same(steered(Proxy("tuned", "untuned", by), OWN, OTHER, OTHER), OWN.tolist())


def test_a_model_tuned_by_proxy_is_the_tuned_one_where_both_small_models_are_at_hand():
    """Whoever drafts: the untuned model itself, moved by the difference that tuning made, is the tuned model."""
    base, tuned = (TableModel(V, cache(TableModel.random(V, seed, order=3).rule)) for seed in (1, 2))
    engine, other = (Engine(model, clock=SimulatedClock()) for model in (base, tuned))
    settings = {"max_new_tokens": 24, "temperature": 0.8, "seed": 6}
    expected = other.generate([0, 3], **settings).tokens
    for way in ("plain", "lookup", "recycle+fixed(9)"):
        assert engine.generate([0, 3], way, steers=[Proxy(tuned)], **settings).tokens == expected, way
    assert engine.generate([0, 3], **settings).tokens != expected


# -- SafeInfer


def test_safe_infer_by_hand():
    own, unsafe = logs(0.5, 0.3, 0.2), logs(0.2, 0.6, 0.2)
    half = steered(SafeInfer("unsafe", 0.5), own, unsafe).softmax(-1)[0].tolist()
    assert half == pytest.approx([0.5882, 0.1765, 0.2353], abs=1e-4)
    most = steered(SafeInfer("unsafe"), own, unsafe).softmax(-1)[0].tolist()
    assert most == pytest.approx([5 / 7, 0.0, 2 / 7], abs=1e-9)


@pytest.mark.parametrize("by", [0.3, 0.99])
def test_safe_infer(by):
    expected = []
    for own, other in zip(OWN.tolist(), OTHER.tolist(), strict=True):
        p, u = softmax(own), softmax(other)
        expected.append([(math.log(x) - by * math.log(max(x, y))) / (1 - by) for x, y in zip(p, u, strict=True)])
    same(steered(SafeInfer("unsafe", by), OWN, OTHER), expected)
    assert torch.equal(steered(SafeInfer("unsafe", by), OWN, OWN), OWN)
    gone = logs(0.5, 0.5, 0.0)
    assert not steered(SafeInfer("unsafe", by), gone, logs(0.0, 0.5, 0.5)).isnan().any()


def test_out_of_range():
    for make in (
        lambda: KlTemperature(-1.0),
        lambda: KlTemperature(start=0.0),
        lambda: KlTemperature(lowest=0.0),
        lambda: Uscd(by=-1.0),
        lambda: Uscd(limit=-1.0),
        lambda: Uscd(share=2.0),
        lambda: Uscd(measure="other"),
        lambda: Uscd(among=1),
        lambda: Proxy("a", "a"),
        lambda: Proxy("a", by=-1.0),
        lambda: SafeInfer("a", 1.0),
        lambda: SafeInfer("a", newest=0),
    ):
        with pytest.raises(InvalidRequest):
            make()
