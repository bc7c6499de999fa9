from __future__ import annotations

from functools import cache as remember

import pytest
import torch

from models.families import FAMILIES, VOCABULARY
from stretto.diagnose.surplus import Probe
from stretto.diagnose.survey import read, survey
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.fast import lean_or_none
from stretto.models.table import TableModel
from stretto.models.window import Window

TEXTS = [[(at * at + 3 * text) % VOCABULARY for at in range(60)] for text in range(5)]
QUICK = Probe(size=4, epochs=1)


@remember
def network():
    model = lean_or_none(FAMILIES["llama"](), print)
    assert model is not None
    return model


def test_positions_with_their_states_and_what_follows_them():
    reading = read(network(), TEXTS, [0, 2, 3], ahead=3, positions=100)
    assert reading.following.shape == (100, 3) and reading.logits.shape == (100, VOCABULARY)
    assert reading.following[0].tolist() == TEXTS[0][1:4] and reading.following[56].tolist() == TEXTS[0][57:60]
    assert reading.following[57].tolist() == TEXTS[1][1:4]  # the next text begins anew
    cache = network().new_cache()
    window = Window.chain([cache.open()], [TEXTS[1][:9]], [0], network().device)
    alone = network().evaluate(window, cache).logits[0]
    assert torch.allclose(reading.logits[57:66], alone, atol=1e-4)
    assert torch.allclose(network().read_out(reading.hidden[2]), reading.readout[2], atol=1e-4)
    assert torch.allclose(reading.readout[3], reading.logits, atol=1e-4)
    assert torch.equal(reading.hidden[0][0], network().embed(torch.tensor(TEXTS[0][0])))


def test_a_line_for_each_layer():
    seen = []
    layers = survey(
        network(), TEXTS, [0, 3], ahead=2, positions=80, probe=QUICK, each=lambda all: seen.extend(all) or seen
    )
    assert [layer.layer for layer in layers] == seen == [0, 3]
    last = layers[1]
    assert last.gap == pytest.approx(0.0, abs=1e-4) and layers[0].gap > 0.01
    assert set(last.overlaps) == {1, 4, 16, 32} and all(0 <= value <= 1 + 1e-9 for value in last.overlaps.values())
    assert sum(last.overlaps.values()) > sum(layers[0].overlaps.values())
    assert len(last.surplus.terms) == 1 and last.surplus.total >= 0


def test_what_cannot_be_read_is_refused():
    with pytest.raises(Unsupported, match="no hidden states"):
        survey(TableModel.random(4, 0), [[0, 1, 2, 3]], [0])
    with pytest.raises(InvalidRequest, match="layers 0 to 3"):
        survey(network(), TEXTS, [4])
    with pytest.raises(InvalidRequest, match="ahead >= 2"):
        survey(network(), TEXTS, [1], ahead=1)
    with pytest.raises(InvalidRequest, match="no text"):
        survey(network(), [[1, 2, 3]], [1])
