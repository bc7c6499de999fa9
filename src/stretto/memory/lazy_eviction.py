"""LazyEviction: tokens that are read again and again stay for about as long as it took them to be read again before."""

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
    name="lazy-eviction",
    number=157,
    family="memory",
    source="LazyEviction, arXiv 2506.15969",
    parts="lazy-eviction",
    guarantee=Guarantee.DEFINED,
    summary="tokens stay that are likely to be read again, by how long it took before",
    command="stretto generate --store lazy-eviction",
)


@dataclass(frozen=True)
class LazyEviction(Evictor):
    """A token is read where any query head of its key head reads a share of `least` or more.

    Worth falls with the time since it was last read, measured in the longest time that it was ever not read.
    """

    name: ClassVar[str] = "lazy-eviction"
    remembered: ClassVar[int] = 2  # the step at which it was last read, and the longest pause

    least: float = 1e-4  # share, 0 to 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.least <= 1:
            raise InvalidRequest(f"a share of {self.least:g}", hint="0 to 1")

    @classmethod
    def examples(cls) -> tuple[LazyEviction, ...]:
        return (cls(24, 8, least=0.02),)

    def worth(self, shares: Tensor | None, known: Tensor, end: int) -> tuple[Tensor, Tensor]:
        assert shares is not None
        last, pause = known.clone()
        begun = end - self.block  # steps count from 1: the token of step t is new with t - 1 as its last one
        last[..., -self.block :] = torch.arange(begun, end, device=known.device)
        read = (most := shares.amax(2)).ge(self.least) & most.gt(0)  # [L, G, block, c]
        for step in range(begun + 1, end + 1):
            now = read[:, :, step - begun - 1]
            pause = torch.where(now, torch.maximum(pause, step - last), pause)
            last = torch.where(now, step, last)
        return likely(end, last, pause), torch.stack([last, pause])


def likely(step: int, last: Tensor, pause: Tensor) -> Tensor:
    """How likely tokens are to be read again, which were last read at a step and had such a longest pause."""
    waited = ((step - last).double() / (pause.double() + 1e-5)).clamp(max=700)
    known = 2 * torch.sigmoid(1 - pause.double())
    return 2 * torch.sigmoid(-1 - waited) + known.masked_fill(pause == 0, 0.0)
