"""A cache that holds tokens otherwise once they are old: what queries read of them then, they read from there on.

Tokens age in blocks of `span`. A block of a row ages when all of its tokens are final, which they are when the window
after them is placed, since nobody takes back more than the last window; what is made of it holds for queries that stand
`span` positions or more behind its end. No window reaches further, so that each query, drafted or not and in whatever
window, reads what it would have read had its tokens come one by one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..errors import Unsupported
from ..models.blocks import CacheShape, Three
from ..models.cache import Cache, KeyForm
from ..models.trunk import Sharing

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.place import Place
    from ..models.window import Window

ALONE = Sharing(least=1 << 60)  # rows share nothing: each forgets by itself


@dataclass(slots=True)
class Aged:
    """What became of the old tokens of a row. Its tensors are replaced, never written to: forks share them."""

    end: int = 0  # tokens that are old: a multiple of the span
    gone: int = 0  # slots that the row has fewer than it has read tokens
    closing: int = 0  # of its first slots, those that queries `span` or more behind `end` do not read


class Ageing(Cache):
    """A `Cache` whose tokens age. Slots are numbered as if all were there; those of old tokens cannot be dropped."""

    def __init__(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm, span: int) -> None:
        if key_form != "rotated":
            raise Unsupported("this store keeps keys as they are turned", hint="use another store")
        super().__init__(shape, rows, slots, key_form, ALONE)
        self.span = span
        self._aged: dict[int, Aged] = {}  # by row

    @abstractmethod
    def _new(self) -> Aged:
        """Of an empty row."""

    @abstractmethod
    def _age(self, row: int, aged: Aged) -> None:
        """One more block of a row is old, that which ends at `aged.end`."""

    # -- rows ---------------------------------------------------------------------------------

    def open(self) -> int:
        row = super().open()
        self._aged[row] = self._new()
        return row

    def free(self, row: int) -> None:
        super().free(row)
        del self._aged[row]

    def fork(self, row: int, count: int = 1, fixed: int | None = None) -> list[int]:
        copies = super().fork(row, count, fixed)
        for copy in copies:
            self._aged[copy] = replace(self._aged[row])
        return copies

    # -- lengths ------------------------------------------------------------------------------

    def length(self, row: int, layer: int = 0) -> int:
        return super().length(row, layer) + self._aged[row].gone

    def lengths(self, row: int) -> list[int]:
        return [each + self._aged[row].gone for each in super().lengths(row)]

    def undoes(self, row: int) -> int:
        """How many of its last tokens a row can drop: those that are not old."""
        return self.length(row) - self._aged[row].end

    def truncate(self, row: int, length: int, first: int = 0) -> None:
        """Drop what is beyond a length. Raises Unsupported where some of that is old, unless all is dropped."""
        if length >= self.length(row):
            return
        if length == 0:
            super().truncate(row, 0)
            self._aged[row] = self._new()
            return
        self._require_young(row, length)
        super().truncate(row, length - self._aged[row].gone, first)

    def rewind(self, row: int, position: int) -> None:
        self.truncate(row, min(self.length(row), position))

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        if list(slots) == list(range(start, start + len(slots))):
            self.truncate(row, start + len(slots))
            return
        self._require_young(row, start)
        gone = self._aged[row].gone
        super().keep(row, start - gone, [slot - gone for slot in slots])

    def _require_young(self, row: int, slot: int) -> None:
        if slot < (end := self._aged[row].end):
            raise Unsupported(
                f"of {end} tokens the store has forgotten how they were: a row does not go back to {slot}",
                hint="leave the store out, or use a method that goes back by what it drafted last",
            )

    def position(self, row: int, slot: int) -> int:
        return slot

    def following(self, row: int, slots: int | None = None) -> int:
        return self.length(row) if slots is None else slots

    # -- writing and reading ------------------------------------------------------------------

    def place(self, window: Window, apart: bool = False) -> Place:
        """See `Cache.place`. Raises Unsupported for a window that reaches further than `span`, or leaves gaps."""
        asking = [own[:count] for own, count in zip(window.positions.tolist(), window.lengths, strict=True)]
        for row, own in zip(window.rows, asking, strict=True):
            aged, length = self._aged[row], self.length(row)
            if own[0] != length or max(own) > length + self.span:
                raise Unsupported(
                    f"a window at {own[0]} to {max(own)}, of a row of {length} tokens",
                    hint=f"with this store windows follow what was read, and reach {self.span} tokens further at most",
                )
            while aged.end + self.span <= length:
                aged.end += self.span
                self._age(row, aged)
        place = super().place(window)
        aged_rows = [self._aged[row] for row in window.rows]
        turns = [aged.end + self.span for aged in aged_rows]
        reaching = [max(own) >= at and aged.closing > 0 for own, at, aged in zip(asking, turns, aged_rows, strict=True)]
        self._gather(place, reaching)
        if any(reaching):
            place.still = self._still(place, torch.tensor(turns, device=self.shape.device), reaching)
        return place

    def _gather(self, place: Place, reaching: Sequence[bool]) -> None:
        """Say what is read beside slots. `reaching` [B]: whether queries of a row do not read what is `closing`."""

    def _still(self, place: Place, turns: Tensor, reaching: Sequence[bool]) -> Tensor:
        """Which slots each query reads, of a window some queries of which stand at `turns` [B] or behind: [B, T, S]."""
        closing = [self._aged[row].closing for row in place.window.rows]
        slots = torch.arange(place.read.end, device=self.shape.device)
        shut = slots < torch.tensor(closing, device=self.shape.device)[:, None]  # [B, S]
        return ~(shut[:, None] & (place.window.positions >= turns[:, None])[..., None])

    def _drop(self, row: int, aged: Aged) -> None:
        """Give back the slots of those that nobody reads any more."""
        if aged.closing:
            held = self._held[row]
            left = held.lengths[0] - aged.closing
            self._blocks.cut(held.place, aged.closing, left)
            held.lengths = [left] * self.shape.layers
            aged.gone, aged.closing = aged.gone + aged.closing, 0

    # -- saving and inspection ----------------------------------------------------------------

    def save(self, row: int, start: int, end: int) -> Three:
        raise Unsupported("what this store holds of a token is not saved", hint="leave the store out")

    def keys(self, row: int, layer: int) -> Tensor:
        return self._whole(row, 1)[layer, 0, :, : super().length(row, layer)]

    def values(self, row: int, layer: int) -> Tensor:
        return self._whole(row, 2)[layer, 0, :, : super().length(row, layer)]
