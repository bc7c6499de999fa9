"""What stores that evict have in common: when a row has more tokens than are to stay, those of least worth go.

Worth is told by layer and key head, so that each may keep other tokens: their keys and values lie in the same slots.
Where it is told by how much was read of a token, these are the shares of the queries of the block that just aged,
summed exactly (models/sums.py): their order, and what else was evaluated, changes nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..errors import InvalidRequest, Unsupported
from ..models import sums
from ..models.cache import Cache, KeyForm
from .ageing import Aged, Ageing
from .contract import Storing

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import CacheShape
    from ..models.place import Place
    from ..models.window import Window


@dataclass(frozen=True)
class Evictor(Storing):
    """Keeps so many tokens of a row in each layer and key head, and beside them those of the last two blocks."""

    ages: ClassVar[bool] = True
    forgets: ClassVar[bool] = True
    watches: ClassVar[bool] = True  # whether worth is told by what queries read
    remembered: ClassVar[int] = 0  # K: numbers that are kept beside each token

    slots: int = 256  # tokens that stay when a block ages, those of the block included, block or more
    block: int = 64  # tokens that age together, and how deep a draft may be; 1 or more

    def __post_init__(self) -> None:
        if not 1 <= self.block <= self.slots:
            raise InvalidRequest(
                f"{self.name} keeps {self.slots} tokens, in blocks of {self.block}",
                hint="blocks of 1 or more, and one block or more",
            )

    @abstractmethod
    def worth(self, shares: Tensor | None, known: Tensor, end: int) -> tuple[Tensor, Tensor]:
        """What each token is worth, [L, G, c], of which the newest `block` stay in any case; and what is known now.

        `shares` [L, G, queries of a key head, block, c] tell what was read of each of c tokens by those of the block
        that ends at `end`, the last of these; None for one who does not watch. `known` [K, L, G, c] is what was kept
        beside them, 0 where they are new.
        """

    def cache(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm) -> Cache:
        return Evicting(shape, rows, min(slots, self.slots + 2 * self.block), key_form, self)


@dataclass(slots=True)
class Kept(Aged):
    """The same, of a row some tokens of which stay."""

    known: Tensor | None = None  # [K, L, G, c] beside the old ones
    asked: Tensor | None = None  # [L, n, G, group, size] queries of those that are not old


class Evicting(Ageing):
    """The cache of an `Evictor`."""

    def __init__(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm, evictor: Evictor) -> None:
        super().__init__(shape, rows, slots, key_form, evictor.block)
        self.evictor, self.direct = evictor, not evictor.watches
        self._asking: list[Tensor] = []  # [B, G, T * group, size] by layer

    def _new(self) -> Kept:
        return Kept()

    def _age(self, row: int, aged: Aged) -> None:
        assert isinstance(aged, Kept)
        shares = self._shares(row, aged)
        if aged.known is not None:
            aged.known = aged.known[..., aged.closing :]
        self._drop(row, aged)
        count = aged.end - aged.gone  # c
        extra = max(0, count - self.evictor.slots)
        if not extra and not self.evictor.remembered:
            return
        read = None if shares is None else shares[..., -count:]
        worth, known = self.evictor.worth(read, self._known(aged, count), aged.end)
        if extra:
            ranks = worth[..., : count - self.span].argsort(stable=True, dim=-1)
            parts = ranks[..., :extra], ranks[..., extra:].sort(-1).values
            block = torch.arange(count - self.span, count, device=worth.device).expand(*worth.shape[:-1], -1)
            order = torch.cat([*parts, block], -1)  # [L, G, c]: what goes, and what stays, by age
            known = known.gather(-1, order.expand_as(known))
            self._sort(row, order)
        aged.known, aged.closing = known, extra

    def _known(self, aged: Kept, count: int) -> Tensor:
        size = self.evictor.remembered, self.shape.layers, self.shape.heads
        known = torch.zeros(*size, 0, device=self.shape.device) if aged.known is None else aged.known
        return torch.nn.functional.pad(known, (0, count - known.shape[-1]))

    def _shares(self, row: int, aged: Kept) -> Tensor | None:
        """What the queries of the block that just aged read of all slots up to its end; they are dropped."""
        if not self.evictor.watches:
            return None
        assert aged.asked is not None
        asked, aged.asked = aged.asked[:, : self.span], aged.asked[:, self.span :].clone()
        if not self.evictor.remembered and aged.end - aged.gone - aged.closing <= self.evictor.slots:
            return None  # nobody goes
        count = aged.end - aged.gone
        queries = asked.permute(0, 2, 3, 1, 4)  # [L, G, group, block, size]
        keys = self._blocks.all[1][:, self._held[row].place, :, None, :count]  # [L, G, 1, c, size]
        behind = torch.ones(self.span, count, dtype=torch.bool, device=keys.device).triu(count - self.span + 1)
        mask = torch.zeros(behind.shape, dtype=torch.float64, device=keys.device).masked_fill(behind, -torch.inf)
        return sums.shares(queries, keys, mask)

    def _sort(self, row: int, order: Tensor) -> None:
        """Put the first slots of a row in another order [L, G, c]; the positions are those of one head."""
        place, count = self._held[row].place, order.shape[-1]
        positions, keys, values = self._blocks.all
        for block in (keys, values):
            held = block[:, place, :, :count]
            held.copy_(held.gather(2, order[..., None].expand_as(held)))
        positions[0, place, 0, :count, 0] = positions[0, place, 0, order[0, 0], 0]

    # -- queries ------------------------------------------------------------------------------

    def place(self, window: Window, apart: bool = False) -> Place:
        self._asking = []
        return super().place(window, apart)

    def read(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor | None:
        """Remember who asks; the model reads."""
        if self.evictor.watches:
            self._asking.append(queries * scale)
        return None

    def settle(self, place: Place) -> None:
        super().settle(place)
        if not self.evictor.watches:
            return
        if len(self._asking) != self.shape.layers or self._asking[0].shape[-1] != self.shape.key_size:
            raise Unsupported(
                f"{self.evictor.name} goes by what queries read, which this model does not tell", hint="use sink-window"
            )
        asking, self._asking = torch.stack(self._asking), []  # [L, B, G, T * group, size]
        size = place.window.tokens.shape[1]
        asking = asking.view(*asking.shape[:3], size, -1, asking.shape[-1]).transpose(2, 3)  # [L, B, T, G, group, size]
        for at, (row, count) in enumerate(zip(place.window.rows, place.window.lengths, strict=True)):
            aged = self._kept(row)
            new = asking[:, at, :count]
            aged.asked = new.clone() if aged.asked is None else torch.cat([aged.asked, new], 1)

    def truncate(self, row: int, length: int, first: int = 0) -> None:
        super().truncate(row, length, first)
        aged = self._kept(row)
        if aged.asked is not None:
            aged.asked = aged.asked[:, : max(0, length - aged.end)]

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        super().keep(row, start, slots)
        aged = self._kept(row)
        if aged.asked is not None and aged.asked.shape[1] > self.length(row) - aged.end:
            stay = [*range(start), *slots][aged.end :]
            aged.asked = aged.asked[:, [slot - aged.end for slot in stay]]

    def _kept(self, row: int) -> Kept:
        aged = self._aged[row]
        assert isinstance(aged, Kept)
        return aged

    def needs(self, slots: int) -> int:
        return super().needs(min(slots, self.evictor.slots + 2 * self.span))

    def bytes(self) -> int:
        beside = [each for aged in self._aged.values() if isinstance(aged, Kept) for each in (aged.known, aged.asked)]
        return super().bytes() + sum(each.untyped_storage().nbytes() for each in beside if each is not None)
