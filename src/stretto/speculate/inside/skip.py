"""All layers of the target but some guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from .contract import Layers, too_few

ENTRY = Entry(
    name="draft-and-verify",
    family="heads",
    source="arXiv 2309.08168; github.com/dilab-zju/self-speculative-decoding",
    parts="draft(skip(2,4))+fixed(4)",
    guarantee=Guarantee.EXACT,
    needs=("ranges of layers", "hidden states"),
    summary="the target without a few of its middle layers guesses, all layers verify",
    generation="target's parts",
    branch="speculative",
)


@dataclass(frozen=True, slots=True)
class Skip(Layers):
    """Leave these layers out. Whole layers are left out, not attention or MLP by itself as in the publication."""

    layers: tuple[int, ...]  # counted from 0, ≥ 1: the first one stays

    name: ClassVar[str] = "skip"

    def __post_init__(self) -> None:
        if min(self.layers, default=1) < 1:
            raise InvalidRequest(f"skip{self.layers}", hint="layers are counted from 0, and layer 0 stays")

    def of(self, layers: int) -> tuple[int, ...]:
        if max(self.layers, default=0) >= layers:
            raise too_few(f"skip({', '.join(map(str, self.layers))})", layers)
        return tuple(each for each in range(layers) if each not in self.layers)
