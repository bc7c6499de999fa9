"""Features of a sparse autoencoder: by hand, against the whole autoencoder, and how repetition is measured."""

from __future__ import annotations

import math

import pytest
import torch

from stretto.diagnose.repetition import gram_entropy, repeated_grams
from stretto.errors import InvalidRequest, ModelError, Unsupported
from stretto.laws.inside import engine
from stretto.models.edits import changes
from stretto.steer.features import Induce, Mitigate, Sae

GENERATOR = torch.Generator().manual_seed(5)
SHAPES = {"W_enc": (4, 9), "b_enc": (9,), "W_dec": (9, 4), "b_dec": (4,)}
SAE = Sae({name: torch.randn(shape, generator=GENERATOR) for name, shape in SHAPES.items()})
ROWS = torch.randn(6, 4, generator=GENERATOR)


def turned(steer: Induce | Mitigate, rows: torch.Tensor = ROWS) -> torch.Tensor:
    return steer.edits[0](steer.layer, rows, {})


def test_induced_features_are_added():
    expected = ROWS + 2.5 * (SAE["W_dec"][3] + SAE["W_dec"][7])
    torch.testing.assert_close(turned(Induce(SAE, 1, (3, 7), 2.5)), expected)


def test_features_that_are_turned_off_are_those_of_the_whole_autoencoder():
    """What it makes of a row without them, and what it misses of the row."""
    active = ((ROWS - SAE["b_dec"]) @ SAE["W_enc"] + SAE["b_enc"]).relu()  # [6, 9]
    without = active.clone()
    without[:, [2, 5, 8]] = 0
    missed = ROWS - (active @ SAE["W_dec"] + SAE["b_dec"])
    assert (active[:, [2, 5, 8]] > 0).any(0).all() and (active[:, [2, 5, 8]] == 0).any()
    torch.testing.assert_close(turned(Mitigate(SAE, 1, (2, 5, 8))), without @ SAE["W_dec"] + SAE["b_dec"] + missed)
    half = turned(Mitigate(SAE, 1, (2, 5, 8), 0.5))
    torch.testing.assert_close(half, (ROWS + turned(Mitigate(SAE, 1, (2, 5, 8)))) / 2)


def test_no_features_change_no_bit():
    rows = ROWS[None].expand(2, -1, -1)
    for steer in (Mitigate(SAE, 1), Induce(SAE, 1), Mitigate(SAE, 1, (3,), 0.0), Induce(SAE, 1, (3,), 0.0)):
        assert steer.idle
        changed = changes([steer.edits, ()])
        assert all(torch.equal(change(rows), rows) for change in changed.values())


def test_how_repetition_is_measured():
    assert repeated_grams([*"ababab"], 1) == pytest.approx(0.6667, abs=1e-4)
    assert gram_entropy([*"ababab"], 1) == pytest.approx(0.3869, abs=1e-4)
    assert repeated_grams([*"abc"], 2) == 0 and gram_entropy([*"abc"], 1) == pytest.approx(1.0)
    assert repeated_grams([1, 2, 1, 2, 1], 2) == pytest.approx(0.5)
    assert repeated_grams([1], 2) == 0 and gram_entropy([1], 1) == 0


def test_autoencoders_are_written_and_read(tmp_path):
    SAE.write(tmp_path / "s.safetensors")
    assert Sae.read(tmp_path / "s.safetensors") == SAE
    assert Mitigate(str(tmp_path / "s.safetensors"), 1, (2,)).edits == Mitigate(SAE, 1, (2,)).edits


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Mitigate(SAE, 1, (9,)), InvalidRequest, "has no feature 9"),
        (lambda: Induce(SAE, -1, (0,)), InvalidRequest, "layer -1"),
        (lambda: Induce(SAE, 1, (0,), math.inf), InvalidRequest, "strength"),
        (lambda: Mitigate(SAE, 1, (0,), 1e3), InvalidRequest, "share"),
        (lambda: Mitigate("random:x", 1, (0,)), InvalidRequest, "names no seed"),
        (lambda: Mitigate("none.safetensors", 1, (0,)), ModelError, "there is no file"),
        (lambda: Sae({**SAE.tensors, "b_dec": torch.zeros(5)}), InvalidRequest, "does not fit together"),
        (lambda: engine("fast").generate([1], steers=[Mitigate(SAE, 1, (0,))]), Unsupported, "is of 4 channels"),
    ],
)
def test_mistakes_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()
