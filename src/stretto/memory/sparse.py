"""What stores that read sparsely have in common: of all that is held, a query reads what a layer before chose for it.

Sums are exact (models/sums.py). So what is read is the same whether it is gathered, for rows of one token, or hidden by
a mask, for longer windows, and whatever stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..models import sums
from ..models.cache import Cache
from ..models.place import visibility

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.place import Place
    from ..models.window import Window

ERROR = 2.0**-15  # of two scores in float32 and on a grid, in the largest product of their numbers, for each number


class Sparse(Cache):
    """A `Cache` that reads by itself."""

    direct = False
    _window: tuple[Place, Tensor] | None = None  # that is read, and which slots its queries see: [B, T, S] bool

    def place(self, window: Window, apart: bool = False) -> Place:
        """See `Cache.place`; what rows share is never read apart."""
        place, size = super().place(window), window.tokens.shape[1]
        seen = visibility(place, self)
        if seen is None:
            seen = torch.ones(1, 1, size, place.read.end, dtype=torch.bool, device=self.shape.device)
        self._window = place, seen[:, 0].expand(len(window.rows), -1, -1)
        return place

    def settle(self, place: Place) -> None:
        """See `Cache.settle`."""
        super().settle(place)
        self._window = None


def scores(queries: Tensor, keys: Tensor, scale: float, size: int) -> Tensor:
    """Of each query and key head, its query heads added up: [B, G, T, S] float64; of [B, G, T * group, size]."""
    found = on_grid(queries.double() * scale) @ on_grid(keys).mT
    return found.view(*found.shape[:2], size, -1, found.shape[-1]).sum(3)


def best(queries: Tensor, keys: Tensor, scale: float, seen: Tensor, count: int) -> Tensor:
    """Which of the slots that are `seen`, [B, T, S] bool, have the highest scores for each query and key head.

    [B, G, T, count], fewer where there are fewer slots; of equal ones the first. Scores are summed exactly. For rows of
    one token they are first made in float32, and once more where the error of that may matter.
    """
    size, shut = seen.shape[1], ~seen[:, None]
    if size > 1 or count >= keys.shape[2]:
        scored = scores(queries, keys, scale, size).masked_fill(shut, -torch.inf)
        return scored.argsort(stable=True, dim=-1, descending=True)[..., :count]
    rough = (queries.float().sum(2, keepdim=True) @ keys.float().mT).masked_fill_(shut, -torch.inf)  # [B, G, 1, S]
    lengths = [each.abs().amax((2, 3), keepdim=True).float() for each in (queries, keys)]
    error = lengths[0] * lengths[1] * queries.shape[2] * queries.shape[3] * ERROR
    least = rough.topk(count, dim=-1).values[..., -1:] - error
    most = int((rough >= least).sum(-1).max())
    near = rough.topk(most, dim=-1).indices.sort(-1).values  # [B, G, 1, most]
    away = shut.expand_as(rough).gather(-1, near)
    scored = scores(queries, picked(keys, near), scale, 1).masked_fill(away, -torch.inf)
    return near.gather(-1, scored.argsort(stable=True, dim=-1, descending=True)[..., :count])


def picked(held: Tensor, slots: Tensor) -> Tensor:
    """Some slots [B, G, 1, k] of [B, G, S, size]: [B, G, k, size]."""
    rows = [
        torch.stack([head.index_select(0, each[0]) for head, each in zip(row, of_row, strict=True)])
        for row, of_row in zip(held, slots, strict=True)
    ]
    return torch.stack(rows)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What each query and key head reads."""

    slots: Tensor  # [B, G, T, k]
    seen: Tensor  # [B, G, T, k] bool: the others are there to fill up

    def hidden(self, size: int) -> Tensor:
        """Whether a slot is read: [B, G, T, S] bool, of S slots."""
        hidden = self.seen.new_zeros(*self.slots.shape[:3], size)
        return hidden.scatter_(-1, self.slots, self.seen)

    def attended(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """What queries [B, G, T * group, size] read of keys and values [B, G, S, size]."""
        read = self.seen
        if read.shape[2] == 1:
            keys, values = picked(keys, self.slots), picked(values, self.slots)
        else:
            read = self.hidden(keys.shape[2])
        shut = torch.zeros(read.shape, dtype=torch.float64, device=keys.device).masked_fill_(~read, -torch.inf)
        shut = shut[:, :, :, None].expand(-1, -1, -1, queries.shape[2] // read.shape[2], -1).flatten(2, 3)
        return sums.attended(on_grid(queries.double() * scale), on_grid(keys), valued(values), shut)


def on_grid(heads: Tensor) -> Tensor:
    """Queries and keys as `sums.gridded` makes them."""
    wide = heads.double()
    shift = wide.abs().amax(-1, keepdim=True).mul_(sums.SCORED)
    return (wide + shift).sub_(shift)


def valued(values: Tensor) -> Tensor:
    """The same of values."""
    return (values.double() + sums.VALUED).sub_(sums.VALUED)
