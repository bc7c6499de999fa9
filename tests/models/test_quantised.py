"""Matrices in blocks are the numbers that their format defines."""

from __future__ import annotations

import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from stretto.models.quantised import QuantisedEmbedding, QuantisedLinear, rounded, stacked

KINDS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_what_the_format_says(kind: str) -> None:
    weight = torch.randn(12, 96, generator=torch.Generator().manual_seed(1))
    held = rounded(weight, kind)
    stated = torch.from_numpy(dequantize(held.data.numpy(), GGMLQuantizationType[kind]))
    assert torch.equal(held.dense(), stated) and held.shape == (12, 96)
    assert float((held.dense() - weight).abs().max()) < 0.4
    order = torch.tensor([3, 3, 0])
    assert torch.equal(held.rows(order).dense(), stated[order])
    assert torch.equal(stacked([held, held.rows(order)]).dense(), torch.cat([stated, stated[order]]))


def test_modules_of_them_compute_with_these_numbers() -> None:
    held = rounded(torch.randn(8, 64), "Q8_0")
    x, tokens = torch.randn(2, 3, 64), torch.tensor([[0, 7], [3, 3]])
    assert torch.equal(QuantisedLinear(held)(x), x @ held.dense().T)
    assert torch.equal(QuantisedEmbedding(held)(tokens), held.dense()[tokens])
