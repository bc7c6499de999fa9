"""GEAR: few bits a number, the largest numbers apart, and of what is lost the part of low rank."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import torch

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .blockwise import Blockwise
from .codes import Steps
from .contract import Storing

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import CacheShape
    from ..models.cache import Cache, KeyForm

ENTRY = Entry(
    name="gear",
    number=187,
    family="memory",
    source="GEAR, arXiv 2403.05527",
    parts="gear",
    guarantee=Guarantee.DEFINED,
    summary="few bits a number, outliers apart, and the lost part of low rank",
    command="stretto generate --store gear",
)


@dataclass(frozen=True)
class Gear(Storing):
    """A channel of a block of keys, or a token's value, is a vector: its outliers are kept, the rest rounded to steps.

    Of what rounding lost, the part of low rank is kept for each head and block, found by turns of multiplication.
    """

    name: ClassVar[str] = "gear"
    ages: ClassVar[bool] = True

    bits: int = 4  # of a number: 8, 4 or 2
    group: int = 64  # numbers of a vector that share a step, 1 or more
    rank: int = 2  # of what is added, 0 or more
    apart: float = 0.02  # share of a vector's numbers that are outliers, half of them the largest, 0 to 0.5
    turns: int = 3  # of the search for what is added, 1 or more
    block: int = 64  # tokens that age together, and how deep a draft may be; 1 or more

    def __post_init__(self) -> None:
        if self.bits not in (8, 4, 2):
            raise InvalidRequest(f"gear in {self.bits} bits", hint="8, 4 or 2")
        if min(self.group, self.block, self.turns) < 1 or self.rank < 0:
            raise InvalidRequest(
                f"group {self.group}, block {self.block}, turns {self.turns}, rank {self.rank}",
                hint="1 or more of each; a rank of 0 or more",
            )
        if not 0 <= self.apart <= 0.5:
            raise InvalidRequest(f"a share of {self.apart:g} apart", hint="0 to 0.5")

    @classmethod
    def examples(cls) -> tuple[Gear, ...]:
        return (cls(4, 8, 1, 0.2, block=8),)

    def cache(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm) -> Cache:
        codes = Corrected(self, by_channel=True), Corrected(self, by_channel=False)
        return Blockwise(shape, rows, key_form, self.block, codes)


@dataclass(frozen=True, slots=True)
class Corrected:
    """The code of keys, whose vectors are channels of a block, or of values, whose vectors are tokens."""

    settings: Gear
    by_channel: bool

    def encode(self, block: Tensor) -> Tensor:
        vectors = block.mT if self.by_channel else block  # [..., N, n]
        places = self._outliers(vectors)  # [..., N, k]
        apart = vectors.gather(-1, places).half()
        filled = vectors.scatter(-1, places, vectors.mean(-1, keepdim=True).expand_as(places))
        rounded = self._steps.encode(filled)
        lost = vectors.double() - self._put(self._steps.decode(rounded, filled.shape[-1], torch.float64), places, apart)
        parts = [rounded, *(each.half() for each in self._low(lost)), places.to(torch.int16), apart]
        return torch.cat([each.flatten(-2).clone().view(torch.uint8) for each in parts], -1)

    def decode(self, records: Tensor, size: int, dtype: torch.dtype) -> Tensor:
        span, lead, half = self.settings.block, records.shape[:-1], torch.float16
        count, length = (size, span) if self.by_channel else (span, size)  # N, n
        rank, each = min(self.settings.rank, count, length), 2 * self._each(length)
        parts = [((count, self._steps.width(length)), torch.uint8), ((count, rank), half), ((length, rank), half)]
        parts += [((count, each), torch.int16), ((count, each), half)]
        ends = [0, *accumulate(rows * width * kind.itemsize for (rows, width), kind in parts)]
        rounded, left, right, places, apart = (
            records[..., start:end].flatten().clone().view(kind).view(*lead, *shape)
            for start, end, (shape, kind) in zip(ends, ends[1:], parts, strict=False)
        )
        found = self._steps.decode(rounded, length, dtype) + left.to(dtype) @ right.to(dtype).mT
        vectors = self._put(found, places.long(), apart)
        return vectors.mT if self.by_channel else vectors

    @property
    def _steps(self) -> Steps:
        return Steps(self.settings.bits, self.settings.group)

    def _each(self, length: int) -> int:
        """How many numbers of a vector are kept at either end."""
        return min(length // 2, round(self.settings.apart * length / 2))

    def _outliers(self, vectors: Tensor) -> Tensor:
        """Where the smallest and the largest numbers are: [..., 2 k]."""
        order, each = vectors.argsort(stable=True, dim=-1), self._each(vectors.shape[-1])
        return torch.cat([order[..., :each], order[..., order.shape[-1] - each :]], -1)

    def _put(self, vectors: Tensor, places: Tensor, apart: Tensor) -> Tensor:
        """Outliers over what is rounded."""
        return vectors.scatter(-1, places, apart.to(vectors.dtype))

    def _low(self, lost: Tensor) -> tuple[Tensor, Tensor]:
        """Factors [..., N, rank] and [..., n, rank] whose product is near what was lost [..., N, n]."""
        rank = min(self.settings.rank, *lost.shape[-2:])
        start = torch.rand(lost.shape[-1], rank, generator=torch.Generator().manual_seed(0), dtype=lost.dtype)
        right = start.to(lost.device).expand(*lost.shape[:-2], -1, -1)
        left = lost[..., :rank]
        for turn in range(self.settings.turns):
            last = turn == self.settings.turns - 1
            left = lost @ (torch.linalg.qr(right).Q if last else right)
            left = torch.linalg.qr(left).Q if last else left
            right = lost.mT @ left
        return left, right
