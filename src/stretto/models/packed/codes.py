"""Matrices of small whole numbers in groups that share a scale: each weight is `(code - zero) * scale`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..quantised import Quantised

BLOCK = 32  # weights
ROUNDING = 2.0**-11  # relative error of float16 over its normal range


@dataclass(frozen=True, slots=True)
class Codes:
    """A matrix [O, I]; what stands in `groups` says which group each input is of, else they are as long, in order."""

    codes: Tensor  # [O, I] uint8 or int8
    zeros: Tensor  # [O, G] of whole numbers; or [1, 1], the same everywhere
    scales: Tensor  # [O, G] of floats
    groups: Tensor | None = None  # [I] int64

    def dense(self) -> Tensor:
        """Its numbers, rounded once where scales are of float32: [O, I] float32."""
        zeros, scales = self.zeros.expand(self.scales.shape), self.scales.float()
        if self.groups is None:
            return (self._signed() * scales[..., None]).flatten(1)
        return (self.codes.short() - zeros[:, self.groups].short()) * scales[:, self.groups]

    def blocks(self) -> Quantised | None:
        """The same in blocks, codes and scales unchanged; None where groups are no whole blocks, or float16 is short.

        Q4_0 and Q8_0 hold the numbers as they are, but for scales of float32, which are rounded to float16 (by a
        2,000th at most). Q4_1 holds offsets, `-zero * scale`, which are rounded likewise: by less than a hundredth of
        the step between two codes.
        """
        signed = self._signed() if self.groups is None else None
        if signed is None or signed.shape[2] % BLOCK:
            return None
        scales = self.scales.half()
        if not _held(scales, self.scales.float()):
            return None
        least, most = signed.aminmax()
        if least >= -8 and most <= 7:
            return _made("Q4_0", [scales], _nibbles(signed + 8))
        codes = self.codes.view(signed.shape)
        if codes.dtype is torch.uint8 and codes.max() <= 15:
            exact = -self.zeros.expand(scales.shape).float() * self.scales.float()
            offsets = exact.half()
            return _made("Q4_1", [scales, offsets], _nibbles(codes)) if _held(offsets, exact) else None
        if least >= -128 and most <= 127:
            return _made("Q8_0", [scales], _cut(signed.to(torch.int8)))
        return None

    def _signed(self) -> Tensor:
        """What scales multiply: [O, G, inputs of a group] int16."""
        groups = self.scales.shape[1]
        codes = self.codes.view(len(self.codes), groups, -1).short()
        return codes - self.zeros.expand(self.scales.shape)[..., None].short()


def unpacked(words: Tensor, bits: int) -> Tensor:
    """Codes of 2, 4 or 8 bits [..., N] uint8 of words [..., W] int32, which hold the first in their lowest bits."""
    data, mask = words.contiguous().view(torch.uint8), (1 << bits) - 1
    return torch.stack([data >> shift & mask for shift in range(0, 8, bits)], -1).flatten(-2)


def _held(half: Tensor, exact: Tensor) -> bool:
    """Whether float16 rounds these numbers no more than it rounds any."""
    return bool(((half.float() - exact).abs() <= exact.abs() * ROUNDING).all())


def _cut(codes: Tensor) -> Tensor:
    """[O, G, inputs of a group] -> [O, G, blocks of a group, BLOCK] uint8."""
    return codes.reshape(*codes.shape[:-1], -1, BLOCK).view(torch.uint8)


def _nibbles(codes: Tensor) -> Tensor:
    """Codes from 0 to 15 as _cut cuts them, the second half of a block above the first: [O, G, …, BLOCK / 2]."""
    first, second = _cut(codes.to(torch.uint8)).chunk(2, -1)
    return first | second << 4


def _made(kind: str, numbers: list[Tensor], codes: Tensor) -> Quantised:
    """Blocks of numbers [O, G] float16, alike in all blocks of a group, and codes [O, G, blocks of a group, bytes]."""
    heads = [each[..., None, None].expand(*codes.shape[:3], 1).contiguous().view(torch.uint8) for each in numbers]
    data = torch.cat([*heads, codes], -1).flatten(1)
    return Quantised(data, kind, codes.shape[1] * codes.shape[2] * BLOCK)
