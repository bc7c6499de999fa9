"""Sink window: the first few tokens and the newest ones stay, whatever is read of them (StreamingLLM)."""

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
    name="sink-window",
    family="memory",
    source="the reference: StreamingLLM, arXiv 2309.17453",
    parts="sink-window",
    guarantee=Guarantee.DEFINED,
    summary="the first tokens and the newest ones stay",
    command="stretto generate --store sink-window",
)


@dataclass(frozen=True)
class SinkWindow(Evictor):
    """The first tokens, which heads read when they have nothing to read, and the newest ones.

    Positions stay those of the text, so that what is read is at most as long as the model has positions.
    """

    name: ClassVar[str] = "sink-window"
    watches: ClassVar[bool] = False

    sinks: int = 4  # first tokens that stay, 0 or more, with the block no more than slots

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.sinks <= self.slots - self.block:
            raise InvalidRequest(
                f"{self.sinks} first tokens beside a block of {self.block} are not among {self.slots}",
                hint="0 or more sinks, fewer than slots without a block",
            )

    @classmethod
    def examples(cls) -> tuple[SinkWindow, ...]:
        return (cls(24, 8),)

    def worth(self, shares: Tensor | None, known: Tensor, end: int) -> tuple[Tensor, Tensor]:
        layers, heads, count = known.shape[1:]
        age = torch.arange(count, dtype=torch.float32, device=known.device)
        age[: self.sinks] = torch.inf
        return age.expand(layers, heads, count), known
