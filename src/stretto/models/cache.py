"""Keys and values of evaluated tokens, per layer and per row; keep, truncate, fork, free.

One block holds the keys of all layers, [L, rows, H, slots, size], and one the values: the views that an
evaluation writes and reads are cut for all layers at once. Slots carry their position. Rows have their
own length in every layer (shallow layers may run ahead of deep ones). Rows are named by numbers that stay
the same; their places in the blocks are packed to the front, so that the rows of a batch are a plain
slice and reading them copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ..errors import OutOfMemory
from .window import Window

if TYPE_CHECKING:
    from torch import Tensor

KeyForm = Literal["rotated", "raw"]  # whether keys are stored after or before the rotary rotation


@dataclass(frozen=True, slots=True)
class Chunk:
    """A layer that sees no further back than to the last multiple of so many positions."""

    size: int


Reach = int | Chunk | None  # how far back a layer sees: so many positions, its own included; None: to the start


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one slot of every layer holds."""

    layers: int
    heads: int  # key/value heads
    key_size: int
    value_size: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_slot(self) -> int:
        return self.layers * self.heads * (self.key_size + self.value_size) * self.dtype.itemsize


@dataclass(slots=True)
class Place:
    """Where one window lies in the cache: made by `Cache.place`, used by every layer of one evaluation."""

    window: Window
    rows: slice | Tensor  # places of the window's rows in the blocks
    starts: list[int]  # B; the slot at which each row's window begins
    level: bool  # whether all rows begin at the same slot
    end: int  # S: one past the last slot that any row uses
    slots: Tensor | None  # [B, T] slots of the window, where the rows do not begin level
    starts_tensor: Tensor | None  # [B] the same as `starts`, where the rows do not begin level
    first: int  # the first layer that runs; the lists below begin with it
    seen: tuple[Sequence[Tensor], Sequence[Tensor]]  # keys, values that the rows may read: [B, H, S, size] each
    new: tuple[Sequence[Tensor], Sequence[Tensor]] | None  # those of the window, [B, H, T, size], in level rows


class Cache:
    """Growable key/value store. `length(row)` tokens of a row are valid, in layer order."""

    def __init__(self, shape: CacheShape, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> None:
        self.shape = shape
        self.key_form: KeyForm = key_form
        self._slots = max(slots, 1)
        self._positions: Tensor  # [rows, slots]
        self._blocks: tuple[Tensor, Tensor]  # keys and values
        self._allocate(max(rows, 1), self._slots, None)
        self._lengths: dict[int, list[int]] = {}  # row -> length per layer
        self._places: dict[int, int] = {}  # row -> place in the blocks
        self._rows: list[int] = []  # the same by place
        self._next_row = 0

    # -- rows ---------------------------------------------------------------------------------

    def open(self) -> int:
        """A new, empty row."""
        if len(self._places) == self.rows_allocated:
            self._allocate(2 * self.rows_allocated, self._slots, self._blocks)
        row = self._next_row
        self._next_row += 1
        self._places[row] = len(self._rows)
        self._rows.append(row)
        self._lengths[row] = [0] * self.shape.layers
        return row

    def free(self, row: int) -> None:
        """Drop a row; the last row in the blocks moves into its place."""
        place, moved = self._places.pop(row), self._rows.pop()
        del self._lengths[row]
        if moved == row:
            return
        self._copy_place(len(self._rows), place, max(self._lengths[moved]))
        self._places[moved], self._rows[place] = place, moved

    def fork(self, row: int, count: int = 1) -> list[int]:
        """`count` new rows that begin as copies of `row`."""
        copies = []
        for _ in range(count):
            copy = self.open()
            self._copy_place(self._places[row], self._places[copy], max(self._lengths[row]))
            self._lengths[copy] = self._lengths[row].copy()
            copies.append(copy)
        return copies

    def place_of(self, row: int) -> int:
        """Where a row stands in the blocks, from 0."""
        return self._places[row]

    def in_order(self, rows: Sequence[int]) -> list[int]:
        """The same rows in the order of the blocks: a batch in this order is read without copying."""
        return sorted(rows, key=self._places.__getitem__)

    # -- lengths ------------------------------------------------------------------------------

    def length(self, row: int, layer: int = 0) -> int:
        """How many tokens of `row` layer `layer` holds."""
        return self._lengths[row][layer]

    def truncate(self, row: int, length: int, first: int = 0) -> None:
        """Drop whatever a layer, of those from `first` on, holds beyond `length` tokens."""
        lengths = self._lengths[row]
        self._lengths[row] = [*lengths[:first], *(min(held, length) for held in lengths[first:])]

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        """From slot `start` on, keep only `slots` (ascending), closing the gaps; a layer keeps what it holds."""
        count = len(slots)
        lengths = self._lengths[row]
        if list(slots) == list(range(start, start + count)):  # a prefix: nothing moves
            self._lengths[row] = [min(held, start + count) for held in lengths]
            return
        place = self._places[row]
        source = torch.tensor(slots, device=self.shape.device)
        for layer, held in enumerate(lengths):
            lengths[layer] = min(held, start + sum(1 for slot in slots if slot < held))
        end = start + count
        self._positions[place, start:end] = self._positions[place, source]
        for block in self._blocks:  # beyond its length a layer moves garbage, which nobody reads
            block[:, place, :, start:end] = block[:, place].index_select(2, source)

    # -- writing and reading (used by models) -----------------------------------------------------

    def place(self, window: Window) -> Place:
        """Make room for a window and note the positions of its slots.

        Raises OutOfMemory when the blocks cannot grow.
        """
        first, last = window.layers or (0, self.shape.layers)
        starts = [self._lengths[row][first] for row in window.rows]
        for row, start in zip(window.rows, starts, strict=True):
            held = self._lengths[row][first:last]
            assert held.count(start) == len(held), f"row {row}: layers {first} to {last} hold {held} tokens"
        size = window.tokens.shape[1]
        end = max(starts) + size
        self._grow(end)
        at = [self._places[row] for row in window.rows]
        contiguous = at == list(range(at[0], at[0] + len(at)))
        rows = slice(at[0], at[0] + len(at)) if contiguous else torch.tensor(at, device=self.shape.device)
        if isinstance(rows, slice):
            keys, values = (block[first:last, rows, :, :end] for block in self._blocks)
            seen = (keys.unbind(0), values.unbind(0))
        else:  # read layer by layer, after the layer has written
            seen = ((), ())
        if starts.count(starts[0]) == len(starts):
            start = starts[0]
            self._positions[rows, start:end] = window.positions
            new = None
            if isinstance(rows, slice):
                new = (keys[:, :, :, start:].unbind(0), values[:, :, :, start:].unbind(0))
            return Place(window, rows, starts, True, end, None, None, first, seen, new)
        starts_tensor = torch.tensor(starts, device=self.shape.device)
        slots = starts_tensor[:, None] + torch.arange(size, device=self.shape.device)  # [B, T]
        index = torch.tensor(at, device=self.shape.device)[:, None]
        self._positions[index, slots] = window.positions
        return Place(window, rows, starts, False, end, slots, starts_tensor, first, seen, None)

    def append(self, layer: int, keys: Tensor, values: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Write the window's keys and values [B, H, T, size]; return the rows' own, [B, H, S, size]."""
        index = layer - place.first
        if place.new is not None:
            place.new[0][index].copy_(keys)
            place.new[1][index].copy_(values)
            return place.seen[0][index], place.seen[1][index]
        rows = place.rows
        if isinstance(rows, slice):
            rows = torch.arange(rows.start, rows.stop, device=self.shape.device)
        slots = place.slots
        if slots is None:
            slots = torch.arange(place.starts[0], place.end, device=self.shape.device)[None]  # [1, T]
        for block, fresh in zip(self._blocks, (keys, values), strict=True):
            block[layer][rows[:, None], :, slots] = fresh.transpose(1, 2)
        if isinstance(place.rows, slice):
            return place.seen[0][index], place.seen[1][index]
        stored_keys, stored_values = self._blocks
        return stored_keys[layer][rows, :, : place.end], stored_values[layer][rows, :, : place.end]

    def settle(self, place: Place) -> None:
        """Count the window's slots as held by the layers that ran."""
        window = place.window
        first, last = window.layers or (0, self.shape.layers)
        for row, start, length in zip(window.rows, place.starts, window.lengths, strict=True):
            self._lengths[row][first:last] = [start + length] * (last - first)

    def positions(self, place: Place) -> Tensor:
        """Positions of the slots that a window may see, its own included: [B, S]."""
        return self._positions[place.rows, : place.end]

    # -- inspection ---------------------------------------------------------------------------

    def keys(self, row: int, layer: int) -> Tensor:
        """Keys of one row as stored: [H, length, key_size]."""
        return self._blocks[0][layer, self._places[row], :, : self._lengths[row][layer]]

    def values(self, row: int, layer: int) -> Tensor:
        """Values of one row: [H, length, value_size]."""
        return self._blocks[1][layer, self._places[row], :, : self._lengths[row][layer]]

    def row_positions(self, row: int) -> Tensor:
        """Positions of one row's tokens: [length of its first layer]."""
        return self._positions[self._places[row], : self._lengths[row][0]]

    def bytes(self) -> int:
        """Memory that the blocks really take."""
        return sum(block.numel() * block.element_size() for block in (*self._blocks, self._positions))

    @property
    def rows_allocated(self) -> int:
        return int(self._positions.shape[0])

    @property
    def slots_allocated(self) -> int:
        return self._slots

    # -- blocks -------------------------------------------------------------------------------

    def _grow(self, end: int) -> None:
        if end > self._slots:
            self._allocate(self.rows_allocated, max(end, 2 * self._slots), self._blocks)

    def _allocate(self, rows: int, slots: int, old: tuple[Tensor, Tensor] | None) -> None:
        """New blocks of the given extent with what the old ones held; zeroed: masks do not stop a stray NaN."""
        with torch.inference_mode(False):  # a block made inside inference mode could not be written outside it
            positions, keys, values = self._zeroed(rows, slots)
            if old is not None:
                held_rows, held_slots = self.rows_allocated, self._slots
                positions[:held_rows, :held_slots] = self._positions
                for fresh, block in zip((keys, values), old, strict=True):
                    fresh[:, :held_rows, :, :held_slots] = block
        self._blocks, self._positions, self._slots = (keys, values), positions, slots

    def _zeroed(self, rows: int, slots: int) -> tuple[Tensor, Tensor, Tensor]:
        """Positions, keys and values. Raises OutOfMemory."""
        shape = self.shape
        device, dtype = shape.device, shape.dtype
        try:
            positions = torch.zeros(rows, slots, dtype=torch.int64, device=device)
            keys, values = (
                torch.zeros(shape.layers, rows, shape.heads, slots, size, dtype=dtype, device=device)
                for size in (shape.key_size, shape.value_size)
            )
        except (RuntimeError, MemoryError) as error:  # torch reports exhausted memory as a RuntimeError
            raise OutOfMemory(
                f"a cache for {rows} rows of {slots} tokens takes {rows * slots * shape.bytes_per_slot:,} bytes",
                hint="ask for fewer rows or new tokens, or load the model in half precision",
            ) from error
        return positions, keys, values

    def _copy_place(self, source: int, target: int, length: int) -> None:
        self._positions[target, :length] = self._positions[source, :length]
        for block in self._blocks:
            block[:, target, :, :length] = block[:, source, :, :length]


def visibility(place: Place, cache: Cache, reach: Reach = None) -> Tensor | None:
    """Which slots each query may read: bool [B, 1, T, S], or None where every slot is open to all.

    `reach` is that of a layer, in positions: with a sliding window, a query at p reads keys at positions > p - reach.
    """
    window, device = place.window, cache.shape.device
    size = window.tokens.shape[1]
    if place.level and (size == 1 or (window.everyone and min(window.lengths) == size)):
        open_slots = None
    elif window.everyone:
        ends = torch.tensor([at + count for at, count in zip(place.starts, window.lengths, strict=True)], device=device)
        open_slots = (torch.arange(place.end, device=device) < ends[:, None, None]).expand(-1, size, -1)  # [B, T, S]
    elif window.visible is None:
        ends = torch.arange(size, device=device)  # [T]
        starts = place.starts[0] if place.starts_tensor is None else place.starts_tensor[:, None]
        ends = (starts + ends).view(-1, size)  # [B or 1, T]
        open_slots = torch.arange(place.end, device=device) <= ends[..., None]  # [B or 1, T, S]
    elif place.level:
        past = window.visible.new_ones(*window.visible.shape[:2], place.starts[0])
        open_slots = torch.cat([past, window.visible], dim=2)  # [B, T, S]
    else:
        assert place.slots is not None and place.starts_tensor is not None
        open_slots = torch.arange(place.end, device=device) < place.starts_tensor[:, None, None]
        open_slots = open_slots.expand(-1, size, -1).clone()  # [B, T, S] the cached ones
        open_slots.scatter_(2, place.slots[:, None, :].expand(-1, size, -1), window.visible)
    span = reach.size if isinstance(reach, Chunk) else reach
    if span is not None and int(window.positions.max()) >= span:
        keys, queries = cache.positions(place)[:, None, :], window.positions[:, :, None]  # [B, 1, S], [B, T, 1]
        near = keys // span == queries // span if isinstance(reach, Chunk) else queries - keys < span
        open_slots = near if open_slots is None else open_slots & near
    return None if open_slots is None else open_slots[:, None]
