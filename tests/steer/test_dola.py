"""DoLa against its definition in plain Python, and the worked numbers of both divergences."""

from __future__ import annotations

import math

import pytest
import torch

from stretto.errors import InvalidRequest, Unsupported
from stretto.laws.inside import engine
from stretto.models.contract import Want
from stretto.models.window import Window
from stretto.steer.dola import Dola
from stretto.steer.nodes import Nodes
from stretto.steer.pipeline import Pipeline
from stretto.steer.taps import Taps

LAST, A, B = (0.81, 0.14, 0.05), (0.05, 0.04, 0.91), (0.01, 0.64, 0.35)


def at(own: torch.Tensor, **readout: torch.Tensor) -> Nodes:
    return Nodes((), own, Taps(readout={int(layer[1:]): logits for layer, logits in readout.items()}))


def logs(*p: float) -> torch.Tensor:
    return torch.tensor([p], dtype=torch.float64).log()


@pytest.mark.parametrize(
    ("divergence", "expected", "of_a", "of_b"), [("textbook", 0, 0.4519, 0.4073), ("official", 1, 0.7324, 0.8076)]
)
def test_the_two_divergences_choose_otherwise(divergence, expected, of_a, of_b):
    nodes = at(logs(*LAST), l1=logs(*A), l2=logs(*B))
    found = [float(Dola((layer,), divergence=divergence).chosen(nodes)[1]) for layer in (1, 2)]
    place, far = Dola((1, 2), divergence=divergence).chosen(nodes)
    assert place.tolist() == [expected] and float(far) == max(found)
    assert found == pytest.approx([of_a, of_b], abs=1e-4)
    steered = Dola((1, 2), share=0.0, divergence=divergence)(nodes.raw, nodes)[0]
    early = (A, B)[expected]
    assert steered.tolist() == pytest.approx([math.log(p / q) for p, q in zip(LAST, early, strict=True)])


def test_each_node_has_a_layer_of_its_own_and_loses_what_is_implausible():
    generator = torch.Generator().manual_seed(1)
    own, early, other = (3 * torch.randn(7, 6, generator=generator, dtype=torch.float64) for _ in range(3))
    nodes = at(own, l0=early, l3=other)
    steered = Dola((0, 3), share=0.3)(own, nodes)
    taken = set()
    for node in range(7):
        p, *rest = (row[node].softmax(-1).tolist() for row in (own, early, other))
        far = []
        for q in rest:
            m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
            far.append(sum(z * (math.log(z / x) + math.log(z / y)) / 2 for x, y, z in zip(p, q, m, strict=True)))
        place = far.index(max(far))
        taken.add(place)
        expected = [math.log(x / y) if x >= 0.3 * max(p) else -math.inf for x, y in zip(p, rest[place], strict=True)]
        given = steered[node].log_softmax(-1)  # raw logits are log-probabilities and a constant
        assert given.tolist() == pytest.approx(torch.tensor(expected, dtype=torch.float64).log_softmax(-1).tolist())
    assert taken == {0, 1}


@pytest.mark.parametrize("driven", ["fast", "blocks", "driven"])
def test_the_last_layer_against_itself_leaves_the_plausible_as_they_were(driven):
    made = engine(driven)
    settings = {"max_new_tokens": 8, "end_tokens": ()}
    plain = made.generate([5, 9], "plain", **settings)
    assert made.generate([5, 9], "plain", steers=[Dola((3,))], **settings).tokens == plain.tokens
    assert made.generate([5, 9], "plain", steers=[Dola((0,))], **settings).tokens != plain.tokens


def test_early_layers_are_read_through_the_last_norm_and_the_head():
    made = engine("fast")
    settings = {"max_new_tokens": 1, "end_tokens": (), "log_probabilities": 97}
    (entry,) = made.generate([5, 9], "plain", steers=[Dola((1,), share=0.0)], **settings).log_probabilities
    cache = made.model.new_cache()
    found = made.model.evaluate(
        Window.chain([cache.open()], [[5, 9]], [0], made.model.device), cache, Want(hidden=(1,))
    )
    expected = found.logits[0, -1].log_softmax(-1) - made.model.read_out(found.hidden[1])[0, -1].log_softmax(-1)
    told = torch.tensor([value for _, value in sorted(entry.top_steered)])
    torch.testing.assert_close(told, expected.log_softmax(-1), atol=1e-4, rtol=1e-4)


def test_what_has_no_probability_stays_finite():
    own, early = torch.tensor([[0.0, -math.inf, -1.0]]), torch.tensor([[0.0, 0.0, -math.inf]])
    steered = Dola((1,), share=0.0)(own, at(own, l1=early))
    assert not steered.isnan().any() and steered.argmax() == 2 and steered[0, 1] == -math.inf


def test_out_of_range():
    for make in (
        lambda: Dola((-1,)),
        lambda: Dola(()),
        lambda: Dola(by=-1.0),
        lambda: Dola(share=2.0),
        lambda: Dola(divergence="other"),
    ):
        with pytest.raises(InvalidRequest):
            make()
    assert not Pipeline([Dola(by=0.0, share=0.0)]).aided
    with pytest.raises(Unsupported, match="layer 4"):
        engine("fast").generate([1], steers=[Dola((0, 4))])
