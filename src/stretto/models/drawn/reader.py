"""Attention drawn for ggml: each row of a window reads its own keys and values where they lie in the cache.

One operation a layer and a row of the window. A query reads one slot after another in their order and skips what it may
not see, so that neither the slots between nor the queries beside it change a bit. Where the slots lie and how many
there are is told before each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from .drawing import DATA, SIZES, STRIDES, WORD, Drawing
from .ggml import FLOAT16, FLOAT32

FLOAT, HALF = 4, 2  # bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Heads among the numbers of a row: one behind another, from `first` on, `stride` numbers from row to row."""

    tensor: int
    first: int
    stride: int


@dataclass(frozen=True, slots=True)
class Lying:
    """Where keys or values [L, rows, H, slots, size] lie: addresses, and steps in bytes."""

    layers: Any  # [L]
    row: int
    head: int
    slot: int
    slots: int  # of one layer, in all rows and heads

    @classmethod
    def of(cls, block: Tensor) -> Lying:
        layer, row, head, slot, number = block.stride()
        assert number == 1, "channels of a head lie one behind another"
        first, (layers, *others) = block.data_ptr(), block.shape
        addresses = first + np.arange(layers) * layer * FLOAT
        return cls(addresses, row * FLOAT, head * FLOAT, slot * FLOAT, others[0] * others[1] * others[2])


@dataclass(frozen=True, slots=True)
class Share:
    """Rows that one program computes: of each row of the window as many as it has there."""

    first: int  # the number of the first
    counts: Any  # [B] how many of each row of the window
    places: Any  # [B] where that one stands among the rows of keys and values
    seen: Any  # [B] how many slots it reads
    queries: Any  # [B] the number of its first, of its queries in the window
    batch: Any  # [B] its number in the window

    @property
    def rows(self) -> int:
        return int(self.counts.sum())


@dataclass(frozen=True, slots=True)
class Sight:
    """What there is to be read, layer by layer."""

    keys: Lying
    values: Lying
    masks: Sequence[Tensor] | None  # [B or 1, T, S] float16, what is added to scores; None: all that a row has is seen


@dataclass(frozen=True, slots=True)
class _Read:
    """Tensors of one layer: for each row of the window queries, keys, values, what is seen, and what is read."""

    tensors: list[tuple[int, int, int, int, int]]
    room: int  # of what is read, all rows one behind another
    stride: int  # numbers from query to query


class Readers:
    """What a drawing reads of keys and values, layer by layer, in so many rows of a window."""

    def __init__(self, drawing: Drawing, count: int, shape: tuple[int, int, int], *, masked: bool) -> None:
        """`shape`: query heads, key heads, size of each."""
        self.drawing, self.count, self.masked = drawing, count, masked
        self.heads, self.key_heads, self.size = shape
        self.read_in: list[_Read] = []
        self.written_in: list[tuple[int, int]] = []  # where keys and where values are put

    def write(self, keys: Part, values: Part, slots: int) -> None:
        """Put keys and values into the slots [rows, key heads] of a layer, counted over all rows and heads."""
        drawing, sizes = self.drawing, (self.drawing.rows, self.key_heads, self.size)
        targets = []
        for part in (keys, values):
            fresh = drawing.part(part.tensor, sizes, (part.stride, self.size), part.first)
            block = drawing.elsewhere(FLOAT32, self.size, 1, drawing.rows)
            targets.append(drawing.now(drawing.made("set_rows", block, fresh, slots)))
        self.written_in.append((targets[0], targets[1]))

    def read(self, queries: Part, scale: float, cap: float | None) -> int:
        """What all heads of a row read, one behind another: [rows, heads * size]."""
        drawing = self.drawing
        room = drawing.room(self.heads * self.size)
        found = []
        for _ in range(self.count):
            sizes = (self.heads, drawing.rows, self.size)
            query = drawing.part(queries.tensor, sizes, (self.size, queries.stride), queries.first)
            key, value = (drawing.elsewhere(FLOAT32, self.size, 1, self.key_heads) for _ in range(2))
            mask = drawing.elsewhere(FLOAT16, 1, drawing.rows) if self.masked else 0
            result = drawing.loose("flash_attn_ext", query, key, value, mask or None, scale, 0.0, cap or 0.0)
            found.append((query, key, value, drawing.now(result), mask))
        self.read_in.append(_Read(found, room, queries.stride))
        return room


class Aim:
    """Tells a program that has been drawn where its keys and values lie."""

    def __init__(self, readers: Readers) -> None:
        drawing, layers = readers.drawing, readers.read_in
        self._words, self._masked = drawing.words, readers.masked
        word = drawing.word(0, 0)  # of an address of 0: fields are counted from there
        tensors = np.array([layer.tensors for layer in layers]) // WORD + word  # [L, B, 5]
        self._queries, self._keys, self._values, self._results, self._shut = np.moveaxis(tensors, -1, 0)
        self._written = np.array(readers.written_in, np.int64).reshape(-1, 2).T // WORD + word
        self._firsts = self._words[self._queries[:, :1] + DATA]
        self._strides = np.array([layer.stride * FLOAT for layer in layers])[:, None]
        self._rooms = np.array([int(self._words[drawing.word(layer.room, DATA)]) for layer in layers])[:, None]
        self._width = readers.heads * readers.size * FLOAT

    def __call__(self, share: Share, sight: Sight) -> None:
        """The next run computes these rows, which see that."""
        words, counts = self._words, share.counts
        offsets = np.cumsum(counts) - counts  # [B]
        words[self._queries + DATA] = self._firsts + offsets * self._strides
        words[self._queries + (SIZES + 1)] = counts
        words[self._results + DATA] = self._rooms + offsets * self._width
        words[self._results + (SIZES + 2)] = counts
        for tensors, lying in ((self._keys, sight.keys), (self._values, sight.values)):
            words[tensors + DATA] = lying.layers[:, None] + share.places * lying.row
            words[tensors + (SIZES + 1)] = share.seen
            words[tensors + (STRIDES + 1)] = lying.slot
            words[tensors + (STRIDES + 2)] = lying.head
        for written, lying in zip(self._written, (sight.keys, sight.values), strict=True):
            words[written + DATA] = lying.layers[: len(written)]
            words[written + (SIZES + 1)] = lying.slots
            words[written + (STRIDES + 2)] = 0  # slots are counted over all rows and heads
        if sight.masks is not None:
            self._shut_by(sight.masks, share)

    def _shut_by(self, masks: Sequence[Tensor], share: Share) -> None:
        words = self._words
        addresses = np.array([mask.data_ptr() for mask in masks])[:, None]
        rows = np.array([HALF * mask.stride(1) for mask in masks])[:, None]
        batch = np.array([HALF * mask.stride(0) if len(mask) > 1 else 0 for mask in masks])[:, None]
        words[self._shut + DATA] = addresses + share.batch * batch + share.queries * rows
        words[self._shut + SIZES] = share.seen
        words[self._shut + (SIZES + 1)] = share.counts
        words[self._shut + (STRIDES + 1)] = rows
