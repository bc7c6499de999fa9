"""Keys and values of evaluated tokens, per layer and per row; keep, truncate, fork, free.

One block holds the keys of all layers, [L, rows, H, slots, size], and one the values: the views that an
evaluation writes and reads are cut for all layers at once. Slots carry their position. Rows have their
own length in every layer (shallow layers may run ahead of deep ones). Rows are named by numbers that stay
the same; their places in the blocks are packed to the front, so that the rows of a batch are a plain
slice and reading them copies nothing.

What rows share lies in trunks (trunk.py), which count those that stand on them: a fork of a long row copies
nothing, and where two rows part each goes on in slots of its own, which come after those of its trunks. A trunk
that too few rows stand on to be worth its own reading is taken back into them. Blocks shrink when rows leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast

import torch

from .blocks import Blocks, CacheShape, Three
from .place import Columns, Place
from .trunk import Gathered, Held, Sharing, Standing, seal, take_back
from .window import Window

if TYPE_CHECKING:
    from torch import Tensor

KeyForm = Literal["rotated", "raw"]  # whether keys are stored after or before the rotary rotation


class Cache:
    """A growable `Store` of keys and values. `length(row)` tokens of a row are valid, in layer order."""

    edits, direct = True, True  # whether blocks hold the numbers that queries read: kernels may read them there
    span = 1 << 30  # see `Store.span`: any
    again: Mapping[int, int] = {}

    def __init__(
        self,
        shape: CacheShape,
        rows: int = 1,
        slots: int = 256,
        key_form: KeyForm = "rotated",
        sharing: Sharing = Sharing(),
    ) -> None:
        self.shape = shape
        self.sharing = sharing
        self.key_form: KeyForm = key_form
        self._blocks = Blocks(shape, max(rows, 1), max(slots, 1))
        self._held: dict[int, Held] = {}  # by row
        self.rows: list[int] = []  # those that are open, by place
        self._next_row = 0
        self._left = 0  # rows, since it was last looked whether the blocks are too large

    # -- rows ---------------------------------------------------------------------------------

    def open(self) -> int:
        """A new, empty row."""
        self._blocks.grow(len(self.rows) + 1, 0)
        row = self._next_row
        self._next_row += 1
        self._held[row] = Held(len(self.rows), [0] * self.shape.layers)
        self.rows.append(row)
        return row

    def reserve(self, rows: int) -> None:
        """So many rows are about to be open: let the blocks grow once. Raises OutOfMemory."""
        self._blocks.grow(rows, 0)

    def free(self, row: int) -> None:
        """Drop a row; the last row in the blocks moves into its place, and blocks that became too large shrink."""
        held, moved = self._held.pop(row), self.rows.pop()
        for trunk in held.trunks:
            trunk.rows -= 1
        if moved != row:
            last = self._held[moved]
            self._blocks.copy(last.place, held.place, max(last.lengths) - last.base)
            last.place, self.rows[held.place] = held.place, moved
        self._left += 1
        if self._left >= len(self.rows):  # not at each: a row that leaves costs the same in any batch
            self._shrink()

    def fork(self, row: int, count: int = 1, fixed: int | None = None) -> list[int]:
        """`count` new rows that begin as copies of `row`.

        So many of its first slots are `fixed` (None: all): never dropped or put elsewhere in any of these rows for as
        long as that row lives. These are shared, where they are many; should they change after all, it only costs time.
        """
        source = self._held[row]
        if seal(source, self._blocks, min(source.lengths) if fixed is None else fixed, self.sharing):
            self._shrink()
        copies = [self.open() for _ in range(count)]
        for copy in copies:
            held = self._held[copy]
            held.lengths, held.trunks, held.base = source.lengths.copy(), source.trunks.copy(), source.base
            self._blocks.copy(source.place, held.place, max(source.lengths) - source.base)
            for trunk in held.trunks:
                trunk.rows += 1
        return copies

    def place_of(self, row: int) -> int:
        """Where a row stands in the blocks, from 0."""
        return self._held[row].place

    def in_order(self, rows: Sequence[int]) -> list[int]:
        """The same rows in the order of the blocks: a batch in this order is read without copying."""
        return sorted(rows, key=self.place_of)

    # -- lengths ------------------------------------------------------------------------------

    def length(self, row: int, layer: int = 0) -> int:
        """How many tokens of `row` layer `layer` holds."""
        return self._held[row].lengths[layer]

    def lengths(self, row: int) -> list[int]:
        """The same of all layers."""
        return self._held[row].lengths.copy()

    def undoes(self, row: int) -> int:
        """How many of its last tokens a row can drop: all."""
        return self.length(row)

    def truncate(self, row: int, length: int, first: int = 0) -> None:
        """Drop whatever a layer, of those from `first` on, holds beyond `length` tokens."""
        held = self._own(row, length)
        held.lengths = [*held.lengths[:first], *(min(each, length) for each in held.lengths[first:])]

    def rewind(self, row: int, position: int) -> None:
        """Drop the last tokens of a row, as many as stand at `position` or behind it."""
        self.truncate(row, self._held[row].lengths[0] - max(0, self.following(row) - position))

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        """From slot `start` on, keep only `slots` (ascending), closing the gaps; a layer keeps what it holds."""
        if list(slots) == list(range(start, start + len(slots))):  # a prefix: nothing moves
            self.truncate(row, start + len(slots))
            return
        held = self._own(row, start)
        held.lengths = [min(each, start + sum(1 for slot in slots if slot < each)) for each in held.lengths]
        self._blocks.gather(held.place, start - held.base, [slot - held.base for slot in slots])

    def shared(self, row: int) -> int:
        """How many of a row's first slots it holds together with others."""
        return self._held[row].base

    # -- positions ----------------------------------------------------------------------------

    def position(self, row: int, slot: int) -> int:
        """The position of the token in a slot, which need not be the slot's number."""
        held = self._held[row]
        for trunk in held.trunks:
            if slot < trunk.start + trunk.slots:
                return int(trunk.positions[slot - trunk.start])
        return self._blocks.position(held.place, slot - held.base)

    def following(self, row: int, slots: int | None = None) -> int:
        """The position that follows the first so many slots of a row (None: all that its first layer holds)."""
        slots = self._held[row].lengths[0] if slots is None else slots
        return self.position(row, slots - 1) + 1 if slots else 0

    # -- writing and reading (used by models) -----------------------------------------------------

    def place(self, window: Window, apart: bool = False) -> Place:
        """Make room for a window and note the positions of its slots.

        A model that reads trunks `apart` finds them in `Place.standings`; for any other, `append` puts them together
        with the rows' own slots. Raises OutOfMemory when the blocks cannot grow.
        """
        first, last = window.layers or (0, self.shape.layers)
        size, device = window.tokens.shape[1], self.shape.device
        rows = [self._held[row] for row in window.rows]
        starts, shared = [], False
        for row, held in zip(window.rows, rows, strict=True):
            lengths = held.lengths[first:last]
            assert lengths.count(lengths[0]) == len(lengths), (
                f"row {row}: layers {first} to {last} hold {lengths} tokens"
            )
            if held.trunks:
                self._weigh(held)
                shared = shared or held.base > 0
            starts.append(lengths[0] - held.base)
        own = Columns.of(starts, size, device)
        if own.end > self._blocks.slots:
            self._blocks.grow(len(self.rows), own.end)
        at = [held.place for held in rows]
        together = at == list(range(at[0], at[0] + len(at)))
        span = slice(at[0], at[0] + len(at)) if together else torch.tensor(at, device=device)
        place = Place(window, span, own, own, first)
        if own.level:
            self._blocks.positions[place.rows, own.starts[0] : own.end] = window.positions
        else:
            self._blocks.positions[torch.tensor(at, device=device)[:, None], own.slots] = window.positions
        if shared:
            self._stand(place, rows, apart)
        return place

    def append(self, layer: int, keys: Tensor, values: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Write the window's keys and values [B, H, T, size]; return those that the rows read, [B, H, S, size].

        Trunks that are read apart are not among them.
        """
        index = layer - place.first
        if place.seen is None:
            self._cut(place)
        if place.new is not None:
            place.new[0][index].copy_(keys)
            place.new[1][index].copy_(values)
        else:
            self._blocks.scatter(layer, place, (keys, values))
        if place.seen:
            own = place.seen[0][index], place.seen[1][index]
        else:
            _, stored_keys, stored_values = self._blocks.all
            end = place.own.end
            own = stored_keys[layer][place.rows, :, :end], stored_values[layer][place.rows, :, :end]
        if place.gathered is None:
            return own
        return place.gathered.read(1, layer, own[0]), place.gathered.read(2, layer, own[1])

    def read(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor | None:
        """What queries [B, H, T * group, size] read, the same shape, where a store reads by itself; here models do."""

    def _cut(self, place: Place) -> None:
        """Views for all layers at once, where the rows lie together; else they are read after each has written."""
        if not isinstance(place.rows, slice):
            place.seen = ()
            return
        keys, values = (block[place.first :, place.rows, :, : place.own.end] for block in self.blocks)
        place.seen = keys.unbind(0), values.unbind(0)
        if place.own.level:
            start = place.own.starts[0]
            place.new = keys[:, :, :, start:].unbind(0), values[:, :, :, start:].unbind(0)

    def settle(self, place: Place) -> None:
        """Count the window's slots as held by the layers that ran."""
        window = place.window
        first, last = window.layers or (0, self.shape.layers)
        for row, length in zip(window.rows, window.lengths, strict=True):
            lengths = self._held[row].lengths
            lengths[first:last] = [lengths[first] + length] * (last - first)

    def positions(self, place: Place) -> Tensor:
        """Positions of the slots that `append` returns: [B, S]."""
        if place.gathered is None:
            return self._blocks.positions[place.rows, : place.own.end]
        own = self._blocks.all[0][0, place.rows, :, : place.own.end]
        return place.gathered.read(0, 0, own)[:, 0, :, 0]

    @property
    def blocks(self) -> tuple[Tensor, Tensor]:
        """Keys and values of all rows [L, rows, H, slots, size], as they lie until the next window is placed."""
        return self._blocks.all[1:]

    # -- saving and inspection ------------------------------------------------------------------

    def save(self, row: int, start: int, end: int) -> Three:
        """A copy of what all layers of a row hold in some slots."""
        return cast(Three, tuple(self._whole(row, block)[:, :, :, start:end].clone() for block in range(3)))

    def restore(self, row: int, saved: Three) -> None:
        """Put what was saved, here or in another cache of the same shape, behind what a row holds."""
        held, count = self._held[row], saved[0].shape[3]
        start = held.lengths[0] - held.base
        self._blocks.grow(len(self.rows), start + count)
        self._blocks.put(held.place, start, saved)
        held.lengths = [each + count for each in held.lengths]

    def keys(self, row: int, layer: int) -> Tensor:
        """Keys of one row as stored: [H, length, key_size]."""
        return self._whole(row, 1)[layer, 0, :, : self.length(row, layer)]

    def values(self, row: int, layer: int) -> Tensor:
        """Values of one row: [H, length, value_size]."""
        return self._whole(row, 2)[layer, 0, :, : self.length(row, layer)]

    def row_positions(self, row: int) -> Tensor:
        """Positions of one row's tokens: [length of its first layer]."""
        return self._whole(row, 0)[0, 0, 0, : self.length(row), 0]

    def needs(self, slots: int) -> int:
        """Bytes of the keys and values of so many tokens."""
        return self.shape.bytes_per_slot * slots

    def bytes(self) -> int:
        """Memory that blocks and trunks really take."""
        trunks = {trunk for held in self._held.values() for trunk in held.trunks}
        return self._blocks.bytes + sum(trunk.bytes for trunk in trunks)

    def _whole(self, row: int, block: int) -> Tensor:
        """All slots of a row in a block, those behind its end included: [L, 1, H, S, size]."""
        held = self._held[row]
        own = self._blocks.all[block][:, held.place, None]
        return torch.cat([*(trunk.blocks[block] for trunk in held.trunks), own], 3) if held.trunks else own

    # -- trunks -------------------------------------------------------------------------------

    def _stand(self, place: Place, rows: Sequence[Held], apart: bool) -> None:
        """Note in a place which trunks its rows stand on, and how they are read."""
        standings = tuple(Standing.of([held.trunks for held in rows], self.shape.device))
        if apart:
            place.standings = standings
            return
        starts = [start + held.base for start, held in zip(place.own.starts, rows, strict=True)]
        place.read = Columns.of(starts, place.window.tokens.shape[1], self.shape.device)
        place.gathered = Gathered(standings, [held.base for held in rows], place.read.end, self.shape.device)

    def _own(self, row: int, slot: int) -> Held:
        """A row that holds itself what it has from a slot on."""
        held = self._held[row]
        while slot < held.base:
            take_back(held, self._blocks, len(self.rows))
        return held

    def _weigh(self, held: Held) -> None:
        """Let a row hold itself what is not worth sharing."""
        while held.trunks:
            trunk = held.trunks[-1]
            fits = len(self.rows) == 1 or max(held.lengths) - trunk.start <= self._blocks.slots
            if trunk.rows * trunk.slots >= self.sharing.worth and (trunk.rows > 1 or not fits):
                return
            take_back(held, self._blocks, len(self.rows))

    def _shrink(self) -> None:
        self._left = 0
        longest = max((max(held.lengths) - held.base for held in self._held.values()), default=0)
        self._blocks.shrink(len(self.rows), longest)
