"""KIVI: keys rounded channel by channel, over the tokens of a block; values token by token; the newest in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .blockwise import Blockwise
from .codes import Steps
from .contract import Storing

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..models.blocks import CacheShape
    from ..models.cache import Cache, KeyForm

ENTRY = Entry(
    name="kivi",
    family="memory",
    source="the reference: KIVI, arXiv 2402.02750",
    parts="kivi(4)",
    guarantee=Guarantee.DEFINED,
    summary="keys rounded by channel, values by token, the newest in full",
    command="stretto generate --store kivi",
)


@dataclass(frozen=True)
class Kivi(Storing):
    """Some channels of keys are far larger than others, in all tokens: each is rounded by itself, so they harm none."""

    name: ClassVar[str] = "kivi"
    ages: ClassVar[bool] = True

    bits: int = 4  # of a number: 8, 4 or 2
    group: int = 32  # tokens of a channel of keys, or channels of a value, that share a step; 1 or more
    block: int = 64  # tokens that age together, and how deep a draft may be; 1 or more

    def __post_init__(self) -> None:
        if self.bits not in (8, 4, 2):
            raise InvalidRequest(f"kivi in {self.bits} bits", hint="8, 4 or 2")
        if min(self.group, self.block) < 1:
            raise InvalidRequest(f"groups of {self.group} in blocks of {self.block}", hint="1 or more of each")

    @classmethod
    def examples(cls) -> tuple[Kivi, ...]:
        return (cls(2, 5, 12),)

    def cache(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm) -> Cache:
        steps = Steps(self.bits, self.group)
        codes = ByChannel(steps, self.block), ByToken(steps, self.block)
        return Blockwise(shape, rows, key_form, self.block, codes)


@dataclass(frozen=True, slots=True)
class ByToken:
    """The numbers of each token by themselves."""

    steps: Steps
    span: int  # tokens of a block

    def encode(self, block: Tensor) -> Tensor:
        return self.steps.encode(block).flatten(-2)

    def decode(self, records: Tensor, size: int, dtype: torch.dtype) -> Tensor:
        return self.steps.decode(records.reshape(*records.shape[:-1], self.span, -1), size, dtype)


@dataclass(frozen=True, slots=True)
class ByChannel:
    """The numbers of each channel by themselves."""

    steps: Steps
    span: int  # tokens of a block

    def encode(self, block: Tensor) -> Tensor:
        return self.steps.encode(block.mT).flatten(-2)

    def decode(self, records: Tensor, size: int, dtype: torch.dtype) -> Tensor:
        return self.steps.decode(records.reshape(*records.shape[:-1], size, -1), self.span, dtype).mT
