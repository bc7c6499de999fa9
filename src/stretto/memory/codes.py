"""Vectors in few bits a number, as records of bytes: groups of their numbers, between the least and the largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Steps:
    """Each vector by itself. A group has its least number and its step behind it, in float16: 4 bytes.

    Numbers beyond 65,504 do not fit.
    """

    bits: int  # of a number: 8, 4 or 2
    group: int  # numbers that share a step, 1 or more; never more than a vector has

    def width(self, size: int) -> int:
        """Bytes of the record of a vector of so many numbers."""
        return sum(self._widths(size))

    def encode(self, vectors: Tensor) -> Tensor:
        """[..., size] -> [..., width] uint8."""
        grouped, (codes, _) = self._grouped(vectors.float()), self._widths(vectors.shape[-1])
        least = grouped.amin(-1, keepdim=True).half()
        step = ((grouped.amax(-1, keepdim=True) - least) / (2**self.bits - 1)).half()
        found = ((grouped - least) / step).nan_to_num_().round_().clamp_(0, 2**self.bits - 1).to(torch.uint8)
        each = torch.nn.functional.pad(
            found.flatten(-2), (0, codes * (8 // self.bits) - grouped.shape[-1] * grouped.shape[-2])
        )
        parts = each.view(*each.shape[:-1], -1, 8 // self.bits)
        shifts = self.bits * torch.arange(8 // self.bits, dtype=torch.uint8, device=vectors.device)
        packed = (parts << shifts).sum(-1, dtype=torch.uint8)
        scales = torch.cat([least, step], -2).squeeze(-1).contiguous().view(torch.uint8)
        return torch.cat([packed, scales], -1)

    def decode(self, records: Tensor, size: int, dtype: torch.dtype) -> Tensor:
        """The reverse, as near as the record is: [..., width] uint8 -> [..., size]."""
        codes, _ = self._widths(size)
        group = min(self.group, size)
        least, step = (
            records[..., codes:].clone(memory_format=torch.contiguous_format).view(torch.float16).to(dtype).chunk(2, -1)
        )
        shifts = torch.arange(0, 8, self.bits, dtype=torch.uint8, device=records.device)
        each = (records[..., :codes, None] >> shifts).bitwise_and_(2**self.bits - 1).flatten(-2)
        numbers = each[..., : least.shape[-1] * group].to(dtype).view(*least.shape, group)
        found: Tensor = numbers.mul_(step[..., None]).add_(least[..., None])
        return found.flatten(-2)[..., :size]

    def _widths(self, size: int) -> tuple[int, int]:
        """Bytes of the codes and of the scales of a vector."""
        group = min(self.group, size)
        groups = -(-size // group)
        return -(-groups * group * self.bits // 8), 4 * groups

    def _grouped(self, vectors: Tensor) -> Tensor:
        """[..., size] -> [..., groups, numbers of a group]; the last one is filled with its last number."""
        group = min(self.group, vectors.shape[-1])
        missing = -vectors.shape[-1] % group
        filled = torch.cat([vectors, vectors[..., -1:].expand(*vectors.shape[:-1], missing)], -1)
        return filled.view(*filled.shape[:-1], -1, group)
