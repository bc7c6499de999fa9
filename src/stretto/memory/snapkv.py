"""SnapKV: those stay of which the last few queries read most, with their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .evicting import Evictor

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="snapkv",
    family="memory",
    source="the reference: SnapKV, arXiv 2404.14469, done after every block instead of once after the prompt",
    parts="snapkv",
    guarantee=Guarantee.DEFINED,
    summary="tokens stay of which the last block reads most, with their neighbours",
    command="stretto generate --store snapkv",
)


@dataclass(frozen=True)
class SnapKV(Evictor):
    """What the block's queries read of those before it, smoothed over neighbours."""

    name: ClassVar[str] = "snapkv"

    kernel: int = 5  # tokens that are averaged, odd

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel < 1 or not self.kernel % 2:
            raise InvalidRequest(f"a kernel of {self.kernel} tokens has no middle", hint="1, 3, 5, 7 …")

    @classmethod
    def examples(cls) -> tuple[SnapKV, ...]:
        return (cls(24, 8),)

    def worth(self, shares: Tensor | None, known: Tensor, end: int) -> tuple[Tensor, Tensor]:
        assert shares is not None
        before = shares[..., : -self.block].double().mean((2, 3))  # [L, G, c - block]
        told = torch.nn.functional.avg_pool1d(before, self.kernel, 1, self.kernel // 2) if before.shape[-1] else before
        return torch.nn.functional.pad(told, (0, self.block), value=1.0), known
