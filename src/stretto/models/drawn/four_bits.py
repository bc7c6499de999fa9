"""Matrices of four bits a weight for the fastest kernel there is for them.

ggml has kernels for Q4_0 blocks (32 weights `scale * (code - 8)`) that read eight outputs at once and take half the
time of those for any other kind. Other kinds of four bits have an offset in each block beside the scale:
`scale * code + low = scale * (code - 8) + offset` with `offset = low + 8 * scale`. What the offsets add to a
product is their own product with the sums of each block's inputs; and that is a thirtieth of the work, so it is
done in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..quantised import Quantised
from .ggml import Blocks

BLOCK = 32  # weights
KINDS = ("Q4_0", "Q4_1", "Q4_K")


def blocks_of(weight: Quantised) -> Blocks:
    """A matrix as the fastest kernel whose rows do not depend on each other reads it."""
    from gguf import GGMLQuantizationType

    if weight.kind in KINDS:
        data, offsets = relaid(weight)
        return Blocks(data, GGMLQuantizationType.Q4_0.value, weight.inputs, offsets, relay=True)
    return Blocks(weight.data, GGMLQuantizationType[weight.kind].value, weight.inputs)


def relaid(weight: Quantised) -> tuple[Tensor, Tensor | None]:
    """A matrix [O, I] of one of KINDS as Q4_0 blocks [O, bytes], and offsets [O, I / 32] float32 if it has any."""
    codes, scales, lows = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q4_K": _q4_k}[weight.kind](weight)
    return _blocks(codes, scales).flatten(1), None if lows is None else lows + 8 * scales.float()


def _blocks(codes: Tensor, scales: Tensor) -> Tensor:
    """Codes [O, B, 32] from 0 to 15 and scales [O, B] float16 as blocks [O, B, 18]."""
    first, second = codes.chunk(2, dim=-1)
    return torch.cat([scales[..., None].view(torch.uint8), first | second << 4], -1)


def _halves(packed: Tensor) -> Tensor:
    """Codes [..., 2 * N] of bytes [..., N]: the lower four bits of all, then the upper."""
    return torch.cat([packed & 15, packed >> 4], -1)


def _float16(data: Tensor) -> Tensor:
    """Bytes [..., 2] -> [...]."""
    return data.contiguous().view(torch.float16)[..., 0]


def _q4_0(weight: Quantised) -> tuple[Tensor, Tensor, Tensor | None]:
    """Codes [O, B, 32], scales [O, B] float16, lows [O, B] float32 (None: -8 * scale)."""
    data = weight.data.view(len(weight.data), -1, 18)
    return _halves(data[..., 2:]), _float16(data[..., :2]), None


def _q4_1(weight: Quantised) -> tuple[Tensor, Tensor, Tensor | None]:
    data = weight.data.view(len(weight.data), -1, 20)
    return _halves(data[..., 4:]), _float16(data[..., :2]), _float16(data[..., 2:4]).float()


def _q4_k(weight: Quantised) -> tuple[Tensor, Tensor, Tensor | None]:
    """Blocks of 256: two float16, then eight scales and eight lows of six bits each that multiply them.

    Scales are rounded to float16: by a 2,000th at most, far less than rounding the inputs does.
    """
    data = weight.data.view(len(weight.data), -1, 144)
    scale, low = _float16(data[..., :2]).float(), _float16(data[..., 2:4]).float()
    first, second, third = data[..., 4:8], data[..., 8:12], data[..., 12:16]
    scales = torch.cat([first & 63, third & 15 | first >> 6 << 4], -1).float() * scale[..., None]
    lows = torch.cat([second & 63, third >> 4 | second >> 6 << 4], -1).float() * -low[..., None]
    codes = _halves(data[..., 16:].reshape(*data.shape[:2], 4, 32))
    return codes.view(len(data), -1, BLOCK), scales.flatten(1).half(), lows.flatten(1)
