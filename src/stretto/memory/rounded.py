"""Rounded: each key and value in a few bits a number, between the least and the largest of its group of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..models.cache import Cache, KeyForm
from .contract import Storing
from .packed import Packed

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import CacheShape

ENTRIES = (
    Entry(
        name="int8-cache",
        family="memory",
        source="the reference: eight bits a number, one scale for each vector of a head",
        parts="rounded(8)",
        guarantee=Guarantee.DEFINED,
        summary="keys and values in eight bits",
        command="stretto generate --store int8-cache",
    ),
    Entry(
        name="int4-cache",
        family="memory",
        source="the reference: four bits a number, one scale for each vector of a head",
        parts="rounded(4)",
        guarantee=Guarantee.DEFINED,
        summary="keys and values in four bits",
        command="stretto generate --store int4-cache",
    ),
)


@dataclass(frozen=True)
class Rounded(Storing):
    """Round each vector of a head by itself, as soon as it is made.

    A group of channels has its least number and its step beside it, in float16: 4 bytes. In four bits and groups of 64
    a vector takes 0.14 of its bytes in float32, 0.28 of those in float16. Numbers beyond 65,504 do not fit.
    """

    name: ClassVar[str] = "rounded"

    bits: int = 4  # of a number: 8, 4 or 2
    group: int = 64  # channels that share a scale, 1 or more; a head's own are never more than it has

    def __post_init__(self) -> None:
        if self.bits not in (8, 4, 2):
            raise InvalidRequest(f"rounded to {self.bits} bits", hint="8, 4 or 2")
        if self.group < 1:
            raise InvalidRequest(f"a group of {self.group} channels", hint="1 or more")

    @classmethod
    def examples(cls) -> tuple[Rounded, ...]:
        return cls(8), cls(4), cls(2, group=5)

    def cache(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm) -> Cache:
        return Packed(shape, self, rows, slots, key_form)

    def width(self, size: int) -> int:
        return sum(self._widths(size))

    def encode(self, vectors: Tensor) -> Tensor:
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
        """[..., size] -> [..., groups, channels of a group]; the last one is filled with its last number."""
        group = min(self.group, vectors.shape[-1])
        missing = -vectors.shape[-1] % group
        filled = torch.cat([vectors, vectors[..., -1:].expand(*vectors.shape[:-1], missing)], -1)
        return filled.view(*filled.shape[:-1], -1, group)
