"""A cache whose old tokens are held block by block, as one record for the keys of a block and one for its values.

So numbers of a channel may be rounded together, over the tokens of a block, or a block corrected as a whole. The newest
tokens, of one to two blocks, are held in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from ..models.cache import KeyForm
from ..models.place import Columns
from ..models.trunk import Gathered
from .ageing import Aged, Ageing

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import CacheShape
    from ..models.place import Place


class BlockCode(Protocol):
    """How the keys or the values of a block become a record; each head of each layer by itself."""

    def encode(self, block: Tensor) -> Tensor:
        """[..., span, size] -> [..., width] uint8."""
        ...

    def decode(self, records: Tensor, size: int, dtype: torch.dtype) -> Tensor:
        """The reverse, as near as the record is: [..., width] uint8 -> [..., span, size]."""
        ...


@dataclass(slots=True)
class Recorded(Aged):
    """The same, of a row with records: those of blocks whose tokens have no slots, and of the last one that aged."""

    keys: Tensor | None = None  # [L, H, blocks, width] uint8
    values: Tensor | None = None


class Blockwise(Ageing):
    """An `Ageing` cache; codes of keys and of values say what records are."""

    direct = False

    def __init__(
        self, shape: CacheShape, rows: int, key_form: KeyForm, span: int, codes: tuple[BlockCode, BlockCode]
    ) -> None:
        super().__init__(shape, rows, 3 * span, key_form, span)
        self.codes = codes

    def _new(self) -> Recorded:
        return Recorded()

    def recorded(self, row: int) -> Recorded:
        """What is old of a row."""
        aged = self._aged[row]
        assert isinstance(aged, Recorded)
        return aged

    def _age(self, row: int, aged: Aged) -> None:
        assert isinstance(aged, Recorded)
        self._drop(row, aged)
        place = self._held[row].place
        found = []
        for block, code, held in zip(self.blocks, self.codes, (aged.keys, aged.values), strict=True):
            record = code.encode(block[:, place, :, : self.span])[:, :, None]
            found.append(record if held is None else torch.cat([held, record], 2))
        aged.keys, aged.values = found
        aged.closing = self.span

    def _gather(self, place: Place, reaching: Sequence[bool]) -> None:
        """Read records before slots; that of the last block only where queries stand far enough behind it."""
        rows = place.window.rows
        bases = [self._aged[row].gone + self.span * reach for row, reach in zip(rows, reaching, strict=True)]
        if not any(bases):
            return
        starts = [start + base for start, base in zip(place.own.starts, bases, strict=True)]
        place.read = Columns.of(starts, place.window.tokens.shape[1], self.shape.device)
        place.gathered = Together(self, rows, bases, place.read.end)

    def _still(self, place: Place, turns: Tensor, reaching: Sequence[bool]) -> Tensor:
        """Of the last block that aged queries read the record from `turns` on, and slots before."""
        gone = torch.tensor([self._aged[row].gone for row in place.window.rows], device=self.shape.device)[:, None]
        slots = torch.arange(place.read.end, device=self.shape.device) - gone  # [B, S]
        reach = torch.tensor(reaching, device=self.shape.device)[:, None]
        record = reach & (slots >= 0) & (slots < self.span)
        full = reach & (slots >= self.span) & (slots < 2 * self.span)
        old = (place.window.positions >= turns[:, None])[..., None]  # [B, T, 1]
        return torch.where(old, ~full[:, None], ~record[:, None])

    def keys(self, row: int, layer: int) -> Tensor:
        return self._decoded(row, layer, 0, super().keys(row, layer))

    def values(self, row: int, layer: int) -> Tensor:
        return self._decoded(row, layer, 1, super().values(row, layer))

    def _decoded(self, row: int, layer: int, which: int, own: Tensor) -> Tensor:
        """Records and slots of a row, one behind the other, [H, S, size]; of the last block that aged its slots."""
        return torch.cat([self.decode(row, layer, which, self._aged[row].gone), own], 1)

    def decode(self, row: int, layer: int, which: int, count: int) -> Tensor:
        """What the records of its first so many tokens stand for: keys (0) or values (1), [H, count, size]."""
        size = (self.shape.key_size, self.shape.value_size)[which]
        aged = self.recorded(row)
        records = (aged.keys, aged.values)[which]
        if records is None or not count:
            return torch.zeros(self.shape.heads, 0, size, dtype=self.shape.dtype, device=self.shape.device)
        return self.codes[which].decode(records[layer, :, : count // self.span], size, self.shape.dtype).flatten(1, 2)

    def needs(self, slots: int) -> int:
        """Bytes, about: records of floats are taken to be a quarter of them."""
        return super().needs(min(slots, 2 * self.span)) + super().needs(max(0, slots - 2 * self.span)) // 4

    def bytes(self) -> int:
        aged = [self.recorded(row) for row in self.rows]
        records = {id(each): each.nbytes for one in aged for each in (one.keys, one.values) if each is not None}
        return super().bytes() + sum(records.values())


class Together(Gathered):
    """Reads records and slots as if each row held all of its tokens itself."""

    def __init__(self, cache: Blockwise, rows: Sequence[int], bases: Sequence[int], end: int) -> None:
        """`bases` [B]: how many tokens of each row are read from records; `end`: S."""
        self.cache, self.rows, self.bases, self.end = cache, rows, bases, end

    def read(self, block: int, layer: int, own: Tensor) -> Tensor:
        """[B, H, S, size] of the rows' own slots [B, H, s, size]; positions (block 0), keys (1) or values (2)."""
        whole = own.new_zeros(*own.shape[:2], self.end, own.shape[3])
        for at, (row, base) in enumerate(zip(self.rows, self.bases, strict=True)):
            count = min(self.end - base, own.shape[2])
            if block:
                whole[at, :, :base] = self.cache.decode(row, layer, block - 1, base)
            else:
                whole[at, :, :base] = torch.arange(base, device=own.device)[:, None]
            whole[at, :, base : base + count] = own[at, :, :count]
        return whole
