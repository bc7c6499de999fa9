"""Where a window lies in a cache, and which slots each of its queries may read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .cache import Cache
    from .trunk import Gathered, Standing
    from .window import Window


@dataclass(frozen=True, slots=True)
class Chunk:
    """A layer that sees no further back than to the last multiple of so many positions."""

    size: int


Reach = int | Chunk | None  # how far back a layer sees: so many positions, its own included; None: to the start


@dataclass(slots=True)
class Columns:
    """Where the rows of a window stand, among the slots that are written or read."""

    starts: list[int]  # B; the slot at which each row's window begins
    end: int  # S: one past the last slot that any row uses
    level: bool  # whether all rows begin at the same slot
    slots: Tensor | None = None  # [B, T] slots of the window, where the rows do not begin level
    starts_tensor: Tensor | None = None  # [B] the same as `starts`, where the rows do not begin level

    @classmethod
    def of(cls, starts: list[int], size: int, device: torch.device) -> Columns:
        if starts.count(starts[0]) == len(starts):
            return cls(starts, starts[0] + size, True)
        begins = torch.tensor(starts, device=device)
        slots = begins[:, None] + torch.arange(size, device=device)
        return cls(starts, max(starts) + size, False, slots, begins)


@dataclass(slots=True)
class Place:
    """Where one window lies in the cache: made by `Cache.place`, used by every layer of one evaluation."""

    window: Window
    rows: slice | Tensor  # places of the window's rows in the blocks
    own: Columns  # among the rows' own slots: where the window is written
    read: Columns  # among the slots that `Cache.append` returns; the same where no row has a trunk
    first: int  # the first layer that runs; the lists below begin with it
    seen: tuple[Sequence[Tensor], ...] | None = None  # own keys, values [B, H, S, size]; empty: they lie not together
    new: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None  # those of the window, [B, H, T, size], in level rows
    standings: tuple[Standing, ...] = ()  # trunks that are read apart from what `Cache.append` returns
    still: Tensor | None = None  # [B, T, S] what is not forgotten yet, of the slots that `Cache.append` returns
    gathered: Gathered | None = None  # puts trunks and own slots together, where they are not read apart
    _index: tuple[Tensor, Tensor] | None = None

    @property
    def index(self) -> tuple[Tensor, Tensor]:
        """The window's places [B, 1] and slots [B or 1, T] in the blocks; found once for all layers."""
        if self._index is None:
            rows, slots, device = self.rows, self.own.slots, self.window.tokens.device
            if isinstance(rows, slice):
                rows = torch.arange(rows.start, rows.stop, device=device)
            if slots is None:
                slots = torch.arange(self.own.starts[0], self.own.end, device=device)[None]
            self._index = rows[:, None], slots
        return self._index


def visibility(place: Place, cache: Cache, reach: Reach = None) -> Tensor | None:
    """Which of the slots that `Cache.append` returns each query may read: bool [B, 1, T, S]; None: all of them.

    `reach` is that of a layer, in positions: with a sliding window, a query at p reads keys at positions > p - reach.
    """
    window, device, read = place.window, cache.shape.device, place.read
    size = window.tokens.shape[1]
    if read.level and (size == 1 or (window.everyone and min(window.lengths) == size)):
        open_slots = None
    elif window.everyone:
        ends = torch.tensor([at + count for at, count in zip(read.starts, window.lengths, strict=True)], device=device)
        open_slots = (torch.arange(read.end, device=device) < ends[:, None, None]).expand(-1, size, -1)  # [B, T, S]
    elif window.visible is None:
        ends = torch.arange(size, device=device)  # [T]
        starts = read.starts[0] if read.starts_tensor is None else read.starts_tensor[:, None]
        ends = (starts + ends).view(-1, size)  # [B or 1, T]
        open_slots = torch.arange(read.end, device=device) <= ends[..., None]  # [B or 1, T, S]
    elif read.level:
        past = window.visible.new_ones(*window.visible.shape[:2], read.starts[0])
        open_slots = torch.cat([past, window.visible], dim=2)  # [B, T, S]
    else:
        assert read.slots is not None and read.starts_tensor is not None
        open_slots = torch.arange(read.end, device=device) < read.starts_tensor[:, None, None]
        open_slots = open_slots.expand(-1, size, -1).clone()  # [B, T, S] the cached ones
        open_slots.scatter_(2, read.slots[:, None, :].expand(-1, size, -1), window.visible)
    if place.still is not None:
        open_slots = place.still if open_slots is None else open_slots & place.still
    if _ends_within(window, reach):
        near = _near(window.positions, cache.positions(place), reach)
        open_slots = near if open_slots is None else open_slots & near
    return None if open_slots is None else open_slots[:, None]


def visibility_of_trunk(place: Place, standing: Standing, reach: Reach = None) -> Tensor | None:
    """The same of the slots of a trunk, for the rows that stand on it: bool [b, 1, T, P]; None: all of them."""
    window = place.window
    if not _ends_within(window, reach):
        return None
    queries = window.positions if standing.rows is None else window.positions[standing.rows]
    return _near(queries, standing.trunk.positions[None], reach)[:, None]


def _ends_within(window: Window, reach: Reach) -> bool:
    """Whether any query stands so far back that a layer of this reach may not see the beginning."""
    span = reach.size if isinstance(reach, Chunk) else reach
    return span is not None and int(window.positions.max()) >= span


def _near(queries: Tensor, keys: Tensor, reach: Reach) -> Tensor:
    """Which of the positions of keys [B or 1, S] lie within the reach of those of queries [B, T]: [B, T, S]."""
    queries, keys = queries[:, :, None], keys[:, None, :]
    if isinstance(reach, Chunk):
        return keys // reach.size == queries // reach.size
    assert reach is not None
    return queries - keys < reach
