"""TOVA: those stay of which the newest token reads most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .evicting import Evictor

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="tova",
    family="memory",
    source="the reference: token omission via attention, arXiv 2401.06104",
    parts="tova",
    guarantee=Guarantee.DEFINED,
    summary="tokens stay of which the newest reads most",
    command="stretto generate --store tova",
)


@dataclass(frozen=True)
class Tova(Evictor):
    """What the block's last query reads, on average over all heads of a layer: these keep the same tokens."""

    name: ClassVar[str] = "tova"

    @classmethod
    def examples(cls) -> tuple[Tova, ...]:
        return (cls(24, 8),)

    def worth(self, shares: Tensor | None, known: Tensor, end: int) -> tuple[Tensor, Tensor]:
        assert shares is not None
        told = shares[:, :, :, -1].double().mean((1, 2))  # [L, c]
        return told[:, None].expand(known.shape[1:]), known
