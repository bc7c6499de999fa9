"""H2O: those stay of which most was read so far, and the newest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from .evicting import Evictor

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="h2o",
    family="memory",
    source="the reference: heavy hitters, arXiv 2306.14048",
    parts="h2o",
    guarantee=Guarantee.DEFINED,
    summary="tokens stay of which most was read so far",
    command="stretto generate --store h2o",
)


@dataclass(frozen=True)
class H2O(Evictor):
    """What was read of a token by every query since it came is added up; the least are forgotten."""

    name: ClassVar[str] = "h2o"
    remembered: ClassVar[int] = 1  # the sum

    @classmethod
    def examples(cls) -> tuple[H2O, ...]:
        return (cls(24, 8),)

    def worth(self, shares: Tensor | None, known: Tensor, end: int) -> tuple[Tensor, Tensor]:
        assert shares is not None
        told = known[0].double() + shares.double().sum((2, 3))
        return told, told.float()[None]
