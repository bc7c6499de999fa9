"""The memory behind a cache: one block each for the positions, keys and values of all layers, rows and slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from ..errors import OutOfMemory

if TYPE_CHECKING:
    from torch import Tensor

    from .place import Place

LEAST = 16  # slots below which blocks do not shrink

Three = tuple["Tensor", "Tensor", "Tensor"]  # positions [1, rows, 1, slots, 1], keys, values [L, rows, H, slots, size]


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


class Blocks:
    """Rows of slots that grow and shrink together; a place is the number of a row."""

    def __init__(self, shape: CacheShape, rows: int, slots: int) -> None:
        self.shape = shape
        self.rows: int
        self.slots: int
        self.all: Three
        self.positions: Tensor  # [rows, slots]
        self._numbers: Any  # the same, where numbers are read from it one by one
        self._take(rows, slots)

    @property
    def bytes(self) -> int:
        return size_of(self.all)

    def position(self, place: int, slot: int) -> int:
        return int(self._numbers[place, slot])

    def grow(self, rows: int, slots: int) -> None:
        """Have room for so many: rows double, slots grow by a quarter at least. Raises OutOfMemory.

        Where slots grow, rows are given back if half of them are not used.
        """
        if rows > self.rows:
            self._resize(max(rows, 2 * self.rows), max(slots, self.slots))
        elif slots > self.slots:
            more = -(-max(slots, self.slots + self.slots // 4) // 8) * 8
            self._resize(rows if 2 * rows <= self.rows else self.rows, more)

    def shrink(self, rows: int, slots: int) -> None:
        """Give back what is not used, where that is three quarters; so what was just given back is not wanted soon."""
        fewer = max(1, 2 * rows) if 4 * rows <= self.rows else self.rows
        shorter = min(self.slots, max(LEAST, 2 * slots)) if 4 * slots <= self.slots else self.slots
        if (fewer, shorter) != (self.rows, self.slots):
            self._resize(fewer, shorter)

    def copy(self, source: int, target: int, count: int) -> None:
        """The first so many slots of one place into another."""
        for block in self.all:
            block[:, target, :, :count] = block[:, source, :, :count]

    def gather(self, place: int, start: int, slots: Sequence[int]) -> None:
        """Put these slots of a place, ascending, one behind another from slot `start` on."""
        source = torch.tensor(slots, device=self.shape.device)
        for block in self.all:
            block[:, place, :, start : start + len(slots)] = block[:, place].index_select(2, source)

    def cut(self, place: int, count: int, left: int) -> Three:
        """Take the first `count` slots of a place out of it; the `left` ones behind them move to the front."""
        taken = tuple(block[:, place, None, :, :count].clone() for block in self.all)
        for block in self.all:
            block[:, place, :, :left] = block[:, place, :, count : count + left].clone()
        return cast(Three, taken)

    def insert(self, place: int, taken: Three, left: int) -> None:
        """The reverse of `cut`."""
        count = taken[0].shape[3]
        for block in self.all:
            block[:, place, :, count : count + left] = block[:, place, :, :left].clone()
        self.put(place, 0, taken)

    def put(self, place: int, start: int, slots: Three) -> None:
        """Write the slots of one row into a place from slot `start` on."""
        for block, part in zip(self.all, slots, strict=True):
            block[:, place, :, start : start + part.shape[3]] = part[:, 0]

    def scatter(self, layer: int, place: Place, fresh: tuple[Tensor, Tensor]) -> None:
        """Write a window's keys and values [B, H, T, size] of one layer, whichever rows and slots are its own."""
        rows, slots = place.index
        for block, each in zip(self.all[1:], fresh, strict=True):
            block[layer][rows, :, slots] = each.transpose(1, 2)

    def _resize(self, rows: int, slots: int) -> None:
        """Blocks of another extent with as much of what the old ones held as they have room for."""
        old = self.all
        self._take(rows, slots)
        rows, slots = min(rows, old[0].shape[1]), min(slots, old[0].shape[3])
        for fresh, block in zip(self.all, old, strict=True):
            fresh[:, :rows, :, :slots] = block[:, :rows, :, :slots]

    def _take(self, rows: int, slots: int) -> None:
        """New blocks; zeroed, as masks do not stop a stray NaN. Raises OutOfMemory."""
        shape = self.shape
        try:
            with torch.inference_mode(False):  # a block made inside inference mode could not be written outside it
                keys, values = (
                    torch.zeros(shape.layers, rows, shape.heads, slots, size, dtype=shape.dtype, device=shape.device)
                    for size in (shape.key_size, shape.value_size)
                )
                positions = torch.zeros(1, rows, 1, slots, 1, dtype=torch.int64, device=shape.device)
        except (RuntimeError, MemoryError) as error:  # torch reports exhausted memory as a RuntimeError
            raise OutOfMemory(
                f"a cache for {rows} rows of {slots} tokens takes {rows * slots * shape.bytes_per_slot:,} bytes",
                hint="ask for fewer rows or new tokens, or load the model in half precision",
            ) from error
        self.rows, self.slots = rows, slots
        self.all, self.positions = (positions, keys, values), positions[0, :, 0, :, 0]
        self._numbers = self.positions.numpy() if shape.device.type == "cpu" else self.positions


def size_of(blocks: Three) -> int:
    """Bytes."""
    return sum(block.numel() * block.element_size() for block in blocks)
