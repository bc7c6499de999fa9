"""Attention whose sums are exact, so that they have no order: the same bits in any window, tree, batch, padding.

A sum in floating point depends on the order of its terms, and the order on how many rows a kernel is given, and on
which slots stand between. But where all terms are multiples of one number and no partial sum needs more than the 53
bits of a float64, no addition rounds. So queries and keys are brought to 20 to 22 bits below their largest channel,
values to 2^-21, weights to 2^-23, and what is summed is summed in float64. That costs less than a tenth of float32's
own error in a score, and everything between the sums is done number by number.

Values beyond 256 may make sums of values round: by 2^-53, which the rounding to float32 hides but for once in 2^29.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

SCORED = 1.5 * 2.0**29  # adding and subtracting this times x rounds to 2^-21 or 2^-22 of x
VALUED = 1.5 * 2.0**31  # adding and subtracting this rounds to 2^-21
SHIFT = 36 * math.log(2)  # weights are whole numbers up to 2^36 before they are scaled: their sum is exact
PORTION = 2.0**23  # and whole numbers of this share of the sum afterwards
PIECE = 1 << 22  # scores at a time: bounds the memory


def turned(heads: Tensor, turn: Tensor) -> Tensor:
    """Neighbouring channels of [..., size] float64 turned by complex128 [..., size / 2] of float32's precision.

    The products are exact in float64, so that it does not matter which instruction adds them.
    """
    return (heads.view(torch.complex128) * turn).view(torch.float64)


def grids(scored: int, others: int) -> tuple[Tensor, Tensor]:
    """For `gridded`, [heads, 1] each: queries and keys, which are `scored`, ready for scores, the others for values."""
    factor = torch.full((scored + others, 1), SCORED, dtype=torch.float64)
    base = torch.zeros(scored + others, 1, dtype=torch.float64)
    factor[scored:], base[scored:] = 0.0, VALUED
    return factor, base


def gridded(heads: Tensor, grid: tuple[Tensor, Tensor]) -> Tensor:
    """Heads [N, heads, size] float64 in so few bits that their sums are exact; done in place."""
    factor, base = grid
    largest = torch.linalg.vector_norm(heads, ord=torch.inf, dim=-1, keepdim=True)  # [N, heads, 1]
    shift = torch.addcmul(base, largest, factor)
    return heads.add_(shift).sub_(shift)


def attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, cap: float | None = None) -> Tensor:
    """What each query reads: [B, H, T, size] of scaled queries, keys and values [B, H, S, size], all `gridded`.

    `mask` [B or 1, 1, T, S] float64 is added to the scores, which `cap` bounds before, by tanh.
    """
    step = max(1, PIECE // (queries.shape[0] * queries.shape[1] * keys.shape[2]))
    if queries.shape[2] <= step:
        return _attended(queries, keys, values, mask, cap)
    parts = []
    for start in range(0, queries.shape[2], step):
        piece = slice(start, start + step)
        shut = None if mask is None else mask[:, :, piece]
        parts.append(_attended(queries[:, :, piece], keys, values, shut, cap))
    return torch.cat(parts, 2)


def _attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, cap: float | None) -> Tensor:
    return (_portions(queries, keys, mask, cap) @ values).mul_(1 / PORTION)


def shares(queries: Tensor, keys: Tensor, mask: Tensor | None, cap: float | None = None) -> Tensor:
    """How much queries [..., N, size], scaled, read of keys [..., S, size]: [..., N, S] float32, in any order of slots.

    Both need not be `gridded` yet; `mask` is added to their scores, which `cap` bounds before, by tanh.
    """
    grid = torch.tensor([[SCORED]], dtype=torch.float64), torch.tensor([[0.0]], dtype=torch.float64)
    queries, keys = (gridded(each.to(torch.float64, copy=True), grid) for each in (queries, keys))
    return _portions(queries, keys, mask, cap).mul_(1 / PORTION).float()


def _portions(queries: Tensor, keys: Tensor, mask: Tensor | None, cap: float | None) -> Tensor:
    """Of `PORTION`, how much each query reads of each key: whole numbers [..., N, S] float64."""
    scores = queries @ keys.mT
    if cap is not None:
        scores.div_(cap).tanh_().mul_(cap)
    if mask is not None:
        scores.add_(mask)
    weights = scores.sub_(scores.amax(-1, keepdim=True).sub_(SHIFT)).exp_().round_()
    return weights.mul_(PORTION / weights.sum(-1, keepdim=True)).round_()


def silu(gate: Tensor) -> Tensor:
    """x / (1 + exp(-x)), each step of which gives a number the same bits wherever it stands; torch's own does not."""
    wide = gate.float()
    return (wide / wide.neg().exp_().add_(1)).to(gate.dtype)


def gelu(gate: Tensor) -> Tensor:
    """The same of GELU, tanh-approximated."""
    wide = gate.float()
    inner = (wide * wide).mul_(wide).mul_(0.044715).add_(wide).mul_((2 / math.pi) ** 0.5)
    return inner.tanh_().add_(1).mul_(wide).mul_(0.5).to(gate.dtype)
