"""A cache whose slots hold each key and each value as a record of bytes, made from that vector alone.

A window's own keys and values are read as records as well. So what a query reads of a token is the same in whichever
window either stands, and all that holds of a cache holds of this one: any tokens can be dropped, rows fork, slots are
saved and found again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch

from ..models.cache import Cache, KeyForm
from ..models.place import Place
from ..models.window import Window

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import CacheShape


class Code(Protocol):
    """How vectors become records."""

    def width(self, size: int) -> int:
        """Bytes of the record of a vector of so many numbers."""
        ...

    def encode(self, vectors: Tensor) -> Tensor:
        """[..., size] -> [..., width] uint8; each by itself."""
        ...

    def decode(self, records: Tensor, size: int, dtype: torch.dtype) -> Tensor:
        """The reverse, as near as the record is: [..., width] uint8 -> [..., size]."""
        ...


class Packed(Cache):
    """A `Cache` of records. `decoded` says what shape of keys and values they stand for."""

    direct = False

    def __init__(self, shape: CacheShape, code: Code, rows: int, slots: int, key_form: KeyForm) -> None:
        self.decoded, self.code = shape, code
        key_size, value_size = code.width(shape.key_size), code.width(shape.value_size)
        records = replace(shape, key_size=key_size, value_size=value_size, dtype=torch.uint8)
        super().__init__(records, rows, slots, key_form)

    def place(self, window: Window, apart: bool = False) -> Place:
        """See `Cache.place`; what rows share is never read apart."""
        return super().place(window)

    def append(self, layer: int, keys: Tensor, values: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """See `Cache.append`: numbers in, numbers out."""
        records = super().append(layer, self.code.encode(keys), self.code.encode(values), place)
        return self._decoded(records[0], self.decoded.key_size), self._decoded(records[1], self.decoded.value_size)

    def keys(self, row: int, layer: int) -> Tensor:
        """See `Cache.keys`: what queries read."""
        return self._decoded(super().keys(row, layer), self.decoded.key_size)

    def values(self, row: int, layer: int) -> Tensor:
        """See `Cache.values`: what queries read."""
        return self._decoded(super().values(row, layer), self.decoded.value_size)

    def _decoded(self, records: Tensor, size: int) -> Tensor:
        return self.code.decode(records, size, self.decoded.dtype)
