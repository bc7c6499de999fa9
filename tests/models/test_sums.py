"""Exact sums have no order: attention is the same, in float64 and to the last bit, however its slots lie."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stretto.models import sums

HEADS, SIZE, SLOTS = 3, 64, 700


def some(seed: int, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of 5 slots [1, H, 5, size], keys and values of 700, of unlike size, as they come from float32."""
    generator = torch.Generator().manual_seed(seed)
    heads = torch.randn(SLOTS + 5, 3 * HEADS, SIZE, generator=generator)
    heads *= torch.logspace(-spread, spread, SLOTS + 5)[torch.randperm(SLOTS + 5, generator=generator), None, None]
    heads[:, :HEADS] *= SIZE**-0.5
    found = sums.gridded(heads.double(), sums.grids(2 * HEADS, HEADS)).transpose(0, 1)[None]
    queries, keys, values = found.split(HEADS, dim=1)  # type: ignore[no-untyped-call]
    return queries[:, :, :5], keys[:, :, 5:], values[:, :, 5:]


@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0])
def test_no_order_of_the_slots_changes_a_bit(spread: float) -> None:
    queries, keys, values = some(3, spread)
    found = sums.attended(queries, keys, values, None)
    for seed in range(8):
        order = torch.randperm(SLOTS, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(sums.attended(queries, keys[:, :, order], values[:, :, order], None), found)
    close = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
    torch.testing.assert_close(found, close, atol=2e-6 * float(values.abs().max()), rtol=0)


def test_masked_slots_and_other_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys, values = some(4)
    alone = sums.attended(queries[:, :, :1], keys[:, :, :90], values[:, :, :90], None)
    mask = torch.full((1, 1, 5, SLOTS), -torch.inf, dtype=torch.float64)
    places = torch.randperm(SLOTS, generator=torch.Generator().manual_seed(1))[:90]
    mask[..., places] = 0.0
    scattered = [torch.randn_like(each) for each in (keys, values)]
    for into, source in zip(scattered, (keys, values), strict=True):
        into[:, :, places] = source[:, :, :90]
    found = sums.attended(queries, *scattered, mask)
    assert torch.equal(found[:, :, :1], alone)
    monkeypatch.setattr(sums, "PIECE", 2 * HEADS * SLOTS)  # two queries at a time
    assert torch.equal(sums.attended(queries, *scattered, mask), found)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(sums.silu, F.silu), (sums.gelu, lambda x: F.gelu(x, approximate="tanh"))]
)
def test_gates_do_not_know_where_a_number_stands(ours, theirs, threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        x = 4 * torch.randn(64, 2000, generator=torch.Generator().manual_seed(0))
        whole = ours(x[:, :1000])  # half of a row, as the gate is of one product; of torch's own some rows differ
        torch.testing.assert_close(whole, theirs(x[:, :1000]), atol=2e-6, rtol=1e-5)
        for rows in range(1, 65):
            assert torch.equal(ours(x[:rows].clone()[:, :1000]), whole[:rows])
        assert ours(x.bfloat16()).dtype is torch.bfloat16
        assert torch.equal(ours(torch.tensor([-1e4, 0.0])), torch.zeros(2))
    finally:
        torch.set_num_threads(before)


def test_turning_is_exact_in_the_size_of_the_window() -> None:
    heads = torch.randn(33, 7, 8, generator=torch.Generator().manual_seed(0)).double()
    angles = torch.rand(33, 7, 4, generator=torch.Generator().manual_seed(1))
    turn = torch.polar(torch.ones_like(angles), angles).to(torch.complex128)
    whole = sums.turned(heads, turn)
    torch.testing.assert_close(torch.linalg.vector_norm(whole, dim=-1), torch.linalg.vector_norm(heads, dim=-1))
    for rows in range(1, 34):
        assert torch.equal(sums.turned(heads[:rows].clone(), turn[:rows].clone()), whole[:rows])
