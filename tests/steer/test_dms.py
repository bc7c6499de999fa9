"""DMS: the gate, the direction, the length; and a probe that tells two kinds of prompts apart."""

from __future__ import annotations

import math

import pytest
import torch

from stretto.errors import InvalidRequest, ModelError, Unsupported
from stretto.laws.inside import engine
from stretto.models.contract import Want
from stretto.models.edits import changes
from stretto.models.window import Window
from stretto.steer.dms import Dms, Probe
from stretto.train.probe import area, train_probe

PROBE = Probe({"weights": [2.0, 0.0], "bias": [-1.0], "direction": [0.6, 0.8]})


def moved(steer: Dms, rows: list[list[float]]) -> list[list[float]]:
    return steer.edits[0](steer.layer, torch.tensor(rows), {}).tolist()


def test_a_row_by_hand():
    recited = 1 / (1 + math.exp(-(2 * 1.5 - 1)))
    expected = [1.5 + 3 * recited * 0.6, 0.5 + 3 * recited * 0.8]
    assert moved(Dms(PROBE, 1, 3.0, norm=False), [[1.5, 0.5]])[0] == pytest.approx(expected)
    scale = math.hypot(1.5, 0.5) / math.hypot(*expected)
    assert moved(Dms(PROBE, 1, 3.0), [[1.5, 0.5]])[0] == pytest.approx([scale * each for each in expected])
    assert moved(Dms(PROBE, 1, -3.0, norm=False), [[1.5, 0.5]])[0] == pytest.approx(
        [1.5 - 3 * recited * 0.6, 0.5 - 3 * recited * 0.8]
    )


def test_the_gate_fires_only_above_its_threshold():
    """Rows of which the probe says 0.731, 0.5 and 0.119."""
    rows = [[1.0, 0.3], [0.5, 0.3], [-0.5, 0.3]]
    for gate, fires in ((0.0, 3), (0.4, 2), (0.5, 1), (0.74, 0)):
        found = moved(Dms(PROBE, 1, 3.0, gate), rows)
        assert [one != pytest.approx(two) for one, two in zip(found, rows, strict=True)] == [
            at < fires for at in range(3)
        ]


def test_it_shows_at_its_layer_and_above_alone():
    model, steer = engine("fast").model, Dms("random:1", 2, 8.0, 0.0)
    want, found = Want(hidden=(0, 1, 2, 3)), []
    for edits in ((), steer.edits):
        cache = model.new_cache()
        window = Window.chain([cache.open()], [[5, 9, 11]], [0], model.device)
        window.edits = changes([edits])
        found.append(model.evaluate(window, cache, want).hidden)
    assert [torch.equal(found[0][layer], found[1][layer]) for layer in range(4)] == [True, True, False, False]
    torch.testing.assert_close(found[0][2].norm(dim=-1), found[1][2].norm(dim=-1))


def test_a_probe_of_two_kinds_of_prompts():
    """Prompts that end in one token against others: told apart on new ones, and led to the general ones."""
    made = engine("fast")
    recited, general = ([[at, 2 * at % 90, 60] for at in range(3, 23)], [[at, 2 * at % 90, 61] for at in range(3, 23)])
    probe, layer = train_probe(made, recited, general, layers=(1, 2))
    assert layer in (1, 2) and float(probe["direction"].norm()) == pytest.approx(1.0)
    from stretto.train.control_vector import last_rows

    told = {}
    for name, token in (("recited", 60), ("general", 61)):
        rows = last_rows(made, [[at, at + 1, token] for at in range(40, 60)], (layer,))[layer]
        told[name] = rows @ probe["weights"].double() + probe["bias"].double()
        told[f"along {name}"] = rows @ probe["direction"].double()
    assert area(told["recited"], told["general"]) > 0.8
    assert told["along general"].mean() > told["along recited"].mean()
    settings = {"max_new_tokens": 4, "end_tokens": (), "steers": [Dms(probe, layer)]}
    made.generate([5, 10, 60], "lookup", **settings)


def test_the_area_under_the_curve():
    assert area(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert area(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0])) == pytest.approx((0.5 + 0 + 1 + 1) / 4)


def test_probes_are_written_and_read(tmp_path):
    PROBE.write(tmp_path / "p.safetensors")
    again = Probe.read(tmp_path / "p.safetensors")
    assert again == PROBE and hash(again) == hash(PROBE)
    assert Dms(str(tmp_path / "p.safetensors"), 1).edits == Dms(PROBE, 1).edits
    assert Probe({**PROBE.tensors, "bias": [0.0]}) != PROBE


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Dms(PROBE, 1, 1e9), InvalidRequest, "strength"),
        (lambda: Dms(PROBE, 1, gate=1.5), InvalidRequest, "gate"),
        (lambda: Dms(PROBE, -1), InvalidRequest, "layer -1"),
        (lambda: Dms("random:", 1), InvalidRequest, "names no seed"),
        (lambda: Dms("none.safetensors", 1), ModelError, "there is no file"),
        (lambda: Probe({"weights": [1.0]}), InvalidRequest, "holds weights"),
        (lambda: Probe({"weights": [1.0], "bias": [0.0], "direction": [1.0, 2.0]}), InvalidRequest, "does not fit"),
        (lambda: Probe({"weights": [math.inf], "bias": [0.0], "direction": [1.0]}), InvalidRequest, "no number"),
        (lambda: engine("fast").generate([1], steers=[Dms(PROBE, 1)]), Unsupported, "is of 2 channels"),
        (lambda: engine("fast").generate([1], steers=[Dms("random:1", 4)]), Unsupported, "layer 4"),
    ],
)
def test_mistakes_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()
