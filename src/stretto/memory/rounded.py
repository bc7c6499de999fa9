"""Rounded: each key and value in a few bits a number, between the least and the largest of its group of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..models.cache import Cache, KeyForm
from .codes import Steps
from .contract import Storing
from .packed import Packed

if TYPE_CHECKING:
    from ..models.blocks import CacheShape

ENTRIES = (
    Entry(
        name="int8-cache",
        family="memory",
        source="the reference: eight bits a number, one scale for each vector of a head",
        parts="rounded(8)",
        guarantee=Guarantee.DEFINED,
        summary="keys and values in eight bits",
        command="stretto generate --store int8-cache",
    ),
    Entry(
        name="int4-cache",
        family="memory",
        source="the reference: four bits a number, one scale for each vector of a head",
        parts="rounded(4)",
        guarantee=Guarantee.DEFINED,
        summary="keys and values in four bits",
        command="stretto generate --store int4-cache",
    ),
)


@dataclass(frozen=True)
class Rounded(Storing):
    """Round each vector of a head by itself, as soon as it is made.

    A group of channels has its least number and its step beside it, in float16: 4 bytes. In four bits and groups of 64
    a vector takes 0.14 of its bytes in float32, 0.28 of those in float16. Numbers beyond 65,504 do not fit.
    """

    name: ClassVar[str] = "rounded"

    bits: int = 4  # of a number: 8, 4 or 2
    group: int = 64  # channels that share a scale, 1 or more; a head's own are never more than it has

    def __post_init__(self) -> None:
        if self.bits not in (8, 4, 2):
            raise InvalidRequest(f"rounded to {self.bits} bits", hint="8, 4 or 2")
        if self.group < 1:
            raise InvalidRequest(f"a group of {self.group} channels", hint="1 or more")

    @classmethod
    def examples(cls) -> tuple[Rounded, ...]:
        return cls(8), cls(4), cls(2, group=5)

    def cache(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm) -> Cache:
        return Packed(shape, Steps(self.bits, self.group), rows, slots, key_form)
