from __future__ import annotations

import math

import pytest
import torch

from stretto.diagnose.spectrum import head_entropy, head_gap, overlap, predictive_rows, read_rows
from stretto.errors import InvalidRequest


def test_entropy_of_heads():
    assert head_entropy(torch.zeros(3, 16)) == pytest.approx(math.log(16))
    certain = torch.full((2, 16), -torch.inf)
    certain[:, 3] = 1.0
    assert head_entropy(certain) == 0.0
    assert head_entropy(torch.cat([torch.zeros(2, 16), certain])) == pytest.approx(math.log(16) / 2)


def test_gap_between_heads():
    generator = torch.Generator().manual_seed(0)
    target, draft = torch.randn(5, 7, generator=generator), torch.randn(5, 7, generator=generator)
    p, q = target.double().softmax(-1), draft.double().softmax(-1)
    assert head_gap(target, draft) == pytest.approx(float((p * (p / q).log()).sum(-1).mean()))
    assert head_gap(target, target + 3.0) == pytest.approx(0.0, abs=1e-6)
    excluded = target.clone()
    excluded[:, 0] = -torch.inf
    assert math.isfinite(head_gap(excluded, draft)) and head_gap(draft, excluded) == math.inf


def test_predictive_similarity():
    rows = predictive_rows(torch.tensor([[0.0, 0.0], [0.0, 0.0], [50.0, -50.0]]))
    gram = rows @ rows.T
    assert gram[0, 0] == pytest.approx(1.0) and gram[0, 1] == pytest.approx(1.0)
    assert gram[0, 2] == pytest.approx(math.sqrt(0.5))
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(read_rows(logits), read_rows(logits + 5.0), atol=1e-5)  # the softmax sees no shift


def test_overlap_of_subspaces():
    generator = torch.Generator().manual_seed(2)
    basis, _ = torch.linalg.qr(torch.randn(40, 8, generator=generator, dtype=torch.float64))
    basis = torch.linalg.qr(basis - basis.mean(0))[0]
    scale = torch.tensor([8.0, 7, 6, 5, 4, 3, 2, 1], dtype=torch.float64)
    rows = basis * scale
    turned, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))
    for size in (1, 3, 8):
        assert overlap(rows, rows @ turned, size) == pytest.approx(1.0)  # same Gram matrix, other coordinates
    assert overlap(rows[:, :3], rows[:, 3:6], 3) == pytest.approx(0.0, abs=1e-9)
    half = torch.cat([rows[:, :2], rows[:, 4:6]], 1)
    assert overlap(rows[:, :4], half, 4) == pytest.approx(0.5)
    strangers = torch.randn(400, 50, generator=generator), torch.randn(400, 50, generator=generator)
    assert overlap(*strangers, 20) == pytest.approx(20 / 400, abs=0.03)


@pytest.mark.parametrize("size", [0, 4, 9])
def test_too_few_contexts(size):
    with pytest.raises(InvalidRequest, match="1 <= size < contexts"):
        overlap(torch.zeros(4, 3), torch.zeros(4, 3), size)
