"""DAGCD: the worked numbers, the context's tokens against plain Python, and a detector that finds what it should."""

from __future__ import annotations

import math

import pytest
import torch

from steer.slow import entropy, softmax
from stretto.errors import InvalidRequest, Unsupported
from stretto.laws.inside import engine
from stretto.steer.dagcd import Dagcd, best_of, shares
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.taps import Taps
from stretto.train.detector import Item, fit, train_detector

P = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)


def at(raw, prompt, drafted=(), **heads):
    """One node: what each head attends to the tokens of its path."""
    given = {(0, int(name[1:])): torch.tensor([row], dtype=torch.float64) for name, row in heads.items()}
    return Nodes([Path(History(prompt), tuple(drafted))], raw, Taps(attention=given))


def test_the_worked_numbers():
    """All of the heads' mass on token 2, at alpha 2: its probability grows by 1.8464."""
    nodes = at(P.log(), [2], h0=[1.0])
    assert float(nodes.entropy) / math.log(4) == pytest.approx(0.9232, abs=1e-4)
    steered = Dagcd(((0, 0),), (1.0,))(nodes.raw, nodes)
    assert steered.exp()[0].tolist() == pytest.approx([0.4, 0.3, 2.0464, 0.1], abs=1e-4)
    assert int(steered.argmax()) == 2


def test_nothing_is_added_where_the_model_is_sure_or_nothing_stands_out():
    sure = torch.tensor([[0.0, -math.inf, -math.inf, -math.inf]])
    assert torch.equal(Dagcd(((0, 0),), (1.0,))(sure, at(sure, [2, 1], h0=[0.5, 0.5])), sure)
    level = at(P.log(), [0, 1, 2, 3], h0=[0.25] * 4)
    assert torch.equal(Dagcd(((0, 0),), (1.0,), -0.3)(level.raw, level), level.raw)  # each has 0.25: none counts
    every = Dagcd(((0, 0),), (1.0,))(level.raw, level).exp()[0]
    assert (every - P[0]).tolist() == pytest.approx([float(every[0] - P[0, 0])] * 4)  # none is preferred


def test_a_token_beyond_the_rank_gets_nothing():
    raw = torch.tensor([[12.0 - token for token in range(12)]], dtype=torch.float64) / 4
    for token, gains in ((9, True), (10, False)):
        steered = Dagcd(((0, 0),), (1.0,))(raw, at(raw, [token], h0=[1.0]))
        assert torch.equal(steered, raw) != gains


def test_ends_leave_the_step_alone():
    nodes = at(P.log(), [2], h0=[1.0])
    assert torch.equal(Dagcd(((0, 0),), (1.0,), ends=frozenset({0}))(nodes.raw, nodes), nodes.raw)
    assert not torch.equal(Dagcd(((0, 0),), (1.0,), ends=frozenset({1}))(nodes.raw, nodes), nodes.raw)


def test_two_heads_over_a_part_of_the_prompt_by_hand():
    """Duplicates are averaged, the part is normalised by itself, and drafted tokens are none of the context's."""
    raw = torch.tensor([[0.3, 0.9, -0.2, 0.5, 0.1]], dtype=torch.float64)
    heads = [[0.3, 0.1, 0.2, 0.05, 0.15, 0.2], [0.05, 0.4, 0.05, 0.3, 0.1, 0.1]]
    nodes = at(raw, [4, 1, 3, 1], [2, 4], h0=heads[0], h1=heads[1])
    steer = Dagcd(((0, 0), (0, 1)), (0.7, -0.2), -0.1, alpha=3.0, most=3, first=1)
    mean = [{1: (row[1] + row[3]) / 2, 3: row[2]} for row in heads]
    share = [{token: value / sum(each.values()) for token, value in each.items()} for each in mean]
    weighted = {token: 0.7 * share[0][token] - 0.2 * share[1][token] for token in (1, 3)}
    p = softmax(raw[0].tolist())
    best = sorted(range(5), key=lambda token: -p[token])[:3]
    counted = {token: value for token, value in weighted.items() if value - 0.1 > 0 and token in best}
    assert counted
    unsure = entropy(p) / math.log(5)
    expected = [q + 3 * unsure * counted.get(token, 0) / sum(counted.values()) for token, q in enumerate(p)]
    assert (steer(raw, nodes).log_softmax(-1).exp() * sum(expected))[0].tolist() == pytest.approx(expected)


def test_the_best_are_those_of_the_lower_ids_among_equals():
    scores = torch.tensor([1.0, 3.0, 2.0, 3.0, 2.0, 2.0])
    for most, expected in (
        (1, {1}),
        (2, {1, 3}),
        (3, {1, 2, 3}),
        (4, {1, 2, 3, 4}),
        (6, set(range(6))),
        (9, set(range(6))),
    ):
        assert set(best_of(scores, most).nonzero().flatten().tolist()) == expected


def test_shares_of_distinct_tokens():
    ids, share = shares([7, 2, 7], torch.tensor([[0.2, 0.2, 0.4], [0.0, 0.0, 0.0]]))
    assert ids.tolist() == [7, 2]
    assert share.tolist() == [pytest.approx([0.6, 0.4]), [0.0, 0.0]]


def test_a_detector_finds_the_heads_that_tell():
    """Of what the model's own heads attend to, against labels that depend on two of them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 6, generator=generator, dtype=torch.float64)
    y = (2 * x[:, 1] - x[:, 4] > 0.4).double()
    weights, bias = fit(x, y, 1e-3)
    assert set(weights.abs().topk(2).indices.tolist()) == {1, 4} and weights[1] > 0 > weights[4]
    p = (x @ weights + bias).sigmoid()
    slope = x.T @ (p - y) / 400 + 2e-3 * weights
    assert float(slope.abs().max()) < 1e-6 and abs(float((p - y).mean())) < 1e-6
    assert float(((p > 0.5).double() == y).double().mean()) > 0.95


def test_the_recipe_gives_a_steer_that_serves():
    made = engine("fast")
    items = [Item([5, 9, 11, 7, 30 + at], [3, 4], [30 + at]) for at in range(8)]
    steer = train_detector(made, items, heads=3)
    assert len(steer.heads) == len(steer.weights) == 3
    settings = {"steers": [steer], "max_new_tokens": 6, "end_tokens": ()}
    plain = made.generate([5, 9, 11, 7, 40, 3, 4], "plain", **settings)
    assert made.generate([5, 9, 11, 7, 40, 3, 4], "recycle+fixed(6)", **settings).tokens == plain.tokens
    with pytest.raises(InvalidRequest, match="no token of an answer"):
        train_detector(made, [Item([5, 9], [3], [4])])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Dagcd(((0, 0),)),
        lambda: Dagcd(((0, 0),), (math.nan,)),
        lambda: Dagcd(((0, 0),), (1.0,), alpha=-1.0),
        lambda: Dagcd(((0, 0),), (1.0,), most=0),
        lambda: Dagcd(((0, 0),), (1.0,), first=-1),
        lambda: Dagcd(((0, 0),), (1.0,), first=3, last=3),
        lambda: Dagcd(((0, 0),), (1.0,), ends=frozenset({-1})),
    ],
)
def test_out_of_range(make):
    with pytest.raises(InvalidRequest):
        make()


def test_heads_that_the_model_lacks_are_refused():
    with pytest.raises(Unsupported, match="head"):
        engine("fast").generate([1], steers=[Dagcd(((3, 0),), (1.0,))])
