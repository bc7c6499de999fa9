"""TidalDecode: two layers choose the tokens that each query reads, and the layers behind them read no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from .contract import Storing
from .sparse import Chosen, Sparse, best

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import CacheShape
    from ..models.cache import Cache, KeyForm
    from ..models.place import Place

ENTRY = Entry(
    name="tidal-decode",
    number=98,
    family="memory",
    source="TidalDecode, arXiv 2410.05076",
    parts="tidal-decode",
    guarantee=Guarantee.DEFINED,
    summary="two layers choose the tokens that others read",
    command="stretto generate --store tidal-decode",
)
FIRST = 2  # the layer that chooses first; those before it read all


@dataclass(frozen=True)
class TidalDecode(Storing):
    """Of the tokens that a query sees, its key head's query heads together choose those of the highest scores.

    Prompts are read like answers: what was read does not depend on where a prompt ended.
    """

    name: ClassVar[str] = "tidal-decode"
    sparse: ClassVar[bool] = True

    tokens: int = 256  # that a query reads, 1 or more
    again: int = 0  # layer, from 0, that chooses once more, above 2; 0: the middle one, where that is above 2

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InvalidRequest(f"{self.tokens} tokens are read", hint="1 or more")
        if self.again and self.again <= FIRST:
            raise InvalidRequest(f"layer {self.again} chooses once more", hint="a layer above 2, or 0")

    @classmethod
    def examples(cls) -> tuple[TidalDecode, ...]:
        return (cls(12, 4),)

    def cache(self, shape: CacheShape, rows: int, slots: int, key_form: KeyForm) -> Cache:
        if key_form != "rotated":
            raise Unsupported("tidal-decode reads keys as they are turned", hint="use another store")
        return Tidal(self, shape, rows, slots)


class Tidal(Sparse):
    """The cache of `TidalDecode`."""

    def __init__(self, settings: TidalDecode, shape: CacheShape, rows: int, slots: int) -> None:
        super().__init__(shape, rows, slots)
        self.tokens = settings.tokens
        self._choosing = {FIRST, settings.again or shape.layers // 2}
        self._chosen: Chosen | None = None

    def read(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor | None:
        """What queries read of what was chosen for them; the layers that choose, and those before them, read all."""
        if layer < FIRST:
            return None
        if layer in self._choosing:
            self._choose(queries, keys, scale)
            return None
        assert self._chosen is not None
        return self._chosen.attended(queries, keys, values, scale)

    def _choose(self, queries: Tensor, keys: Tensor, scale: float) -> None:
        """For each query and key head those slots that it sees and scores highest."""
        assert self._window is not None
        place, seen = self._window
        slots = best(queries, keys, scale, seen, min(self.tokens, place.read.end))
        self._chosen = Chosen(slots, seen[:, None].expand(-1, slots.shape[1], -1, -1).gather(-1, slots))

    def settle(self, place: Place) -> None:
        super().settle(place)
        if self._chosen is None and self.shape.layers > FIRST:
            raise Unsupported("tidal-decode goes by scores, which this model does not tell", hint="use another store")
        self._chosen = None
